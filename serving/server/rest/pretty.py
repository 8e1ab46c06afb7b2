"""Quotes JSON values as TF Serving does in its error messages: an object on several lines, a list on one.

TF Serving quotes a whole value, however large; here a quotation ends after 4,096 characters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from serving.server.rest.numbers import decimal_texts

__all__ = ["quote", "quote_string", "shape_text", "type_name"]

MAX_CHARACTERS = 4096
_INDENT = "    "
_FLOAT_MAX = float(np.finfo(np.float32).max)
_LARGEST_PLAIN = 1e21
_SPECIAL = re.compile(r'[\x00-\x1f"\\]')
_NAMED = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _escape(match: re.Match[str]) -> str:
    return _NAMED.get(match[0]) or f"\\u{ord(match[0]):04X}"


def quote_string(text: str) -> str:
    """Return `text` as RapidJSON writes a string: UTF-8 unchanged, control characters escaped."""
    return '"' + _SPECIAL.sub(_escape, text) + '"'


def _double(value: float) -> str:
    """Return a double in a list or object: the shortest exact digits, without an exponent up to 21 of them."""
    if not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    text = repr(value)
    if "e" not in text:
        return text
    if 1e-7 < abs(value) < _LARGEST_PLAIN:
        plain = format(Decimal(text), "f")
        return plain if "." in plain else plain + ".0"
    return text.replace("e+", "e").replace("e-0", "e-")


def _pieces(value: Any, indent: str) -> Iterator[str]:
    inner = indent + _INDENT
    if isinstance(value, dict):
        for index, (name, item) in enumerate(value.items()):
            yield ("," if index else "{") + "\n" + inner + quote_string(name) + ": "
            yield from _pieces(item, inner)
        yield "\n" + indent + "}" if value else "{}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield "," if index else "["
            yield from _pieces(item, indent)
        yield "]" if value else "[]"
    elif isinstance(value, float):
        yield _double(value)
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return quote_string(value[: MAX_CHARACTERS + 1])
    if value is None:
        return "null"
    return str(value).lower()  # a bool or an int


def quote(value: Any) -> str:
    """Return a JSON value as an error message quotes it."""
    if isinstance(value, float):
        fits = -_FLOAT_MAX <= value <= _FLOAT_MAX
        return decimal_texts(np.array([value], np.float32 if fits else np.float64))[0]
    pieces: list[str] = []
    remaining = MAX_CHARACTERS
    for piece in _pieces(value, ""):
        pieces.append(piece[:remaining])
        remaining -= len(piece)
        if remaining < 0:
            return "".join(pieces) + "…"
    return "".join(pieces)


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape as an error message writes it."""
    return "[" + ",".join(map(str, shape)) + "]"


def type_name(value: Any) -> str:
    """Return RapidJSON's name for the type of a JSON value."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]
