"""YAML files for people, changed line by line: comments and order stay.

For files of this program's own form: block mappings, two spaces for each level, and every value that is changed on its
key's line. `tests/training/test_project_files.py` compares the results with what a YAML parser makes of the same changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["KeyPath", "YamlValue", "change", "keep", "read"]

KeyPath = tuple[str, ...]
_KEY = re.compile(r"( *)([\w-]+):(?: (?! *#)(.*?))?(?: +# (.*))?")
"""Matches the line of a key as a whole: its indent, the key, its value, its comment."""


@dataclass(frozen=True, slots=True)
class YamlValue:
    """A value as YAML, with line breaks if it is a block; empty: that of a section. And its comment; empty: the one of before."""

    text: str
    comment: str = ""


def _keys(text: str) -> Iterator[tuple[str, KeyPath | None, YamlValue]]:
    """Yield each line with its key's path, value and comment; the path is None where no key begins."""
    path: list[str] = []
    for line in text.splitlines():
        match = _KEY.fullmatch(line)
        if match is None:
            yield line, None, YamlValue("")
            continue
        path = [*path[: len(match[1]) // 2], match[2]]
        yield line, tuple(path), YamlValue(match[3] or "", match[4] or "")


def read(text: str) -> dict[KeyPath, YamlValue]:
    """Return the value and the comment of every key."""
    return {path: value for _, path, value in _keys(text) if path is not None}


def change(text: str, values: Mapping[KeyPath, YamlValue]) -> str:
    """Return the text with other values and comments of some keys; a value of a section changes its comment alone."""
    lines = []
    for line, path, now in _keys(text):
        new = values.get(path) if path is not None else None
        if path is None or new is None:
            lines.append(line)
            continue
        comment = new.comment or now.comment
        first, *block = new.text.splitlines() or [""]
        key = f"{'  ' * (len(path) - 1)}{path[-1]}:"
        lines.append(" ".join([key, *([first] if first else []), *([f"# {comment}"] if comment else [])]))
        lines += block
    return "\n".join(lines) + "\n"


def keep(text: str, wanted: Callable[[KeyPath], bool]) -> str:
    """Return the text without the lines of keys that are not wanted, and of what is below them."""
    lines = []
    kept = True
    for line, path, _ in _keys(text):
        if path is not None:
            kept = all(wanted(path[:depth]) for depth in range(1, len(path) + 1))
        elif not line.strip():
            kept = True
        if kept:
            lines.append(line)
    return "\n".join(lines) + "\n"
