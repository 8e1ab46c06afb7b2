"""YAML files of a project: strict parsing, merging, and changes of single keys."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from orchard.errors import ParamsError

__all__ = ["deep_merge", "find_conflict", "merge_params", "read_yaml", "require_known", "set_by_path"]


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error; PyYAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is repeated", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def find_conflict(text: str) -> int:
    """Return the first line in which git left a merge conflict, from 1; 0: there is none."""
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, start=1) if line.startswith("<<<<<<< ")), 0)


def read_yaml(text: str, name: str) -> Any:
    """Parse a YAML text strictly.

    Args:
        text: the text.
        name: the text's name in messages.

    Raises:
        ParamsError: the text is not valid YAML, or repeats a key; with line and column.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        if line := find_conflict(text):
            raise ParamsError(
                f"{name} has a merge conflict of git, in line {line}",
                hint="keep the lines of one side, without the marks",
            ) from None
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ParamsError(f"{name} is not valid YAML{where}: {what}") from None


def deep_merge(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `base` with the values of `over` in place of its own; mappings in both are merged."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = deep_merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def merge_params(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the parameters of a project with those of a profile or a person in place of its own.

    The section `gate` is replaced as a whole: thresholds for some photos mean nothing for others.
    """
    return {**deep_merge(base, over), **{name: over[name] for name in ("gate",) if name in over}}


def require_known(base: Mapping[Any, Any], over: Mapping[Any, Any], name: str) -> None:
    """Check the sections and keys of parameters that replace some. Deeper keys and values are left to `orchard train`.

    Args:
        base: all parameters.
        over: those that replace some; the keys of `gate` are free, for it is replaced as a whole.
        name: of their file, for the message.

    Raises:
        ParamsError: a section or key is unknown, with the nearest known one; or a section is not a mapping.
    """
    for section, values in over.items():
        if section not in base:
            raise ParamsError(f"{name}: {section}: no such section{_suggest(section, base)}")
        if not isinstance(values, dict):
            raise ParamsError(f"{name}: {section} is not a section of keys")
        for key in values if section != "gate" else ():
            if key not in base[section]:
                raise ParamsError(f"{name}: {section}.{key}: no such key{_suggest(key, base[section])}")


def _suggest(key: Any, known: Mapping[Any, Any]) -> str:
    near = difflib.get_close_matches(str(key), [str(name) for name in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def set_by_path(document: dict[str, Any], override: str) -> None:
    """Change one existing value of a document.

    Args:
        document: sections of keys; it is changed.
        override: ``KEY=VALUE``: the key with dots between its sections, the value as YAML.

    Raises:
        ParamsError: the override is malformed, or its key is unknown; with the nearest known key.
    """
    path, equals, text = override.partition("=")
    *sections, last = keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ParamsError(f"{override!r} is not KEY=VALUE", hint="for example --set train.epochs=3")
    value: Any = document
    for depth, key in enumerate(keys):
        where = ".".join(keys[:depth])
        if not isinstance(value, dict):
            raise ParamsError(
                f"{override!r}: there is no parameter {path.strip()}: {where} is a value, not a section with keys"
            )
        if key not in value:
            raise ParamsError(f"{'.'.join(keys[: depth + 1])}: no such key{_suggest(key, value)}")
        if depth < len(sections):
            value = value[key]
    value[last] = read_yaml(text, f"the value of {path.strip()}")
