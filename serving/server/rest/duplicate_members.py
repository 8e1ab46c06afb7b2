"""Members of one name in a JSON object: TF Serving takes the first of them, orjson keeps the last.

orjson does not report them, so they are counted: a body has one colon for each member, and colons in its strings. Only
a body whose count does not agree with its members is parsed again.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

__all__ = ["first_of_duplicates"]

_COLON = ord(":")
_SHORT = 2048
_AMBIGUOUS = (b'\\":', b" :", b"\t:", b"\n:", b"\r:")
"""Where a colon of a string may look like that of a member, or that of a member may not follow its name at once."""


def _count_members(value: Any) -> int:
    """Return the number of members of a value. What the objects of a list contain is assumed to be alike in each."""
    if type(value) is dict:
        return len(value) + sum([_count_members(item) for item in value.values()])
    if type(value) is not list or not value:
        return 0
    if type(value[0]) is dict:
        try:
            own = sum(map(len, value))
        except TypeError:  # numbers between objects: parse the body again
            return -1
        return own + len(value) * (_count_members(value[0]) - len(value[0]))
    return len(value) * _count_members(value[0]) if type(value[0]) is list else 0


def _count_colons(body: bytes | bytearray) -> int:
    if len(body) < _SHORT:
        return body.count(b":")
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == _COLON))  # ten times as fast as bytes.count


def _take_first(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        found.setdefault(name, value)
    return found


def _whole(text: str) -> int | float:
    """Convert an integer as orjson does: one beyond 64 bits becomes a double."""
    value = int(text) if len(text) < 22 else float(text)
    return value if -(1 << 63) <= value < 1 << 64 else float(text)


def first_of_duplicates(body: bytes | bytearray, document: dict[str, Any], *, examples: bool) -> dict[str, Any]:
    """Return a document as TF Serving reads it.

    Args:
        body: the text.
        document: orjson's result of the text.
        examples: a feature that an example has twice takes its last value: TF Serving assigns features one by one.
    """
    colons = _count_colons(body)
    if colons == len(document):  # lists of plain values: the most frequent body
        return document
    expected = _count_members(document)
    if expected == colons:
        return document
    if not any(text in body for text in _AMBIGUOUS) and expected == body.count(b'":'):  # the others are in strings
        return document
    top: list[tuple[str, Any]] = []

    def collect(members: list[tuple[str, Any]]) -> dict[str, Any]:
        top[:] = members
        return dict(members) if examples else _take_first(members)

    try:
        json.loads(body, object_pairs_hook=collect, parse_int=_whole)
    except RecursionError:  # deeper than Python's parser goes; orjson's is not recursive
        return document
    return _take_first(top)
