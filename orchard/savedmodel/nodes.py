"""The nodes of a SavedModel's graph and their attributes, decoded when they are read.

A graph may hold gigabytes of constants: only names are read from all nodes, and the rest from those that are visited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from orchard.savedmodel.signatures import decode_text, map_entry, tensor_shape
from orchard.savedmodel.wire import LENGTH, fields, signed, varints

__all__ = ["FunctionBody", "GraphNode", "NodeInput", "index_functions", "index_nodes"]

_INT32, _INT64 = 3, 9
_MAX_CONTENT = 256


@dataclass(frozen=True, slots=True)
class NodeInput:
    """A data input of a node: the producer's name, the name of its output list ("" in a top-level graph), the index."""

    node: str
    output: str
    index: int


def _input(text: str) -> NodeInput:
    name, *rest = text.split(":")
    index = int(rest[-1]) if rest and rest[-1].isdigit() else 0
    return NodeInput(name, rest[0] if len(rest) == 2 else "", index)


class GraphNode:
    """One node.

    Args:
        body: its NodeDef.
    """

    def __init__(self, body: memoryview) -> None:
        self.op = ""
        self.inputs: list[NodeInput] = []
        self.controls: list[str] = []
        self._attributes: dict[str, memoryview] = {}
        for number, _, _, inner in fields(body):
            if number == 2:
                self.op = decode_text(inner)
            elif number == 3:
                text = decode_text(inner)
                if text.startswith("^"):
                    self.controls.append(text[1:])
                else:
                    self.inputs.append(_input(text))
            elif number == 5:
                name, value = map_entry(inner)
                self._attributes[name] = value

    def _items(self, name: str, number: int) -> Iterator[tuple[int, int, memoryview]]:
        """Yield (wire type, number, bytes) of each field `number` of an attribute's AttrValue."""
        for found, kind, value, inner in fields(self._attributes.get(name, b"")):
            if found == number:
                yield kind, value, inner

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return next((signed(value) for _, value, _ in self._items(name, 3)), default)

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """A truth value."""
        return next((bool(value) for _, value, _ in self._items(name, 5)), default)

    def text(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return next((decode_text(inner) for _, _, inner in self._items(name, 2)), default)

    def integers(self, name: str) -> list[int]:
        """A list of integers."""
        return [
            signed(item)
            for _, _, values in self._items(name, 1)
            for number, kind, value, inner in fields(values)
            if number == 3
            for item in varints(kind, value, inner)
        ]

    def shape(self, name: str) -> list[int] | None:
        """A shape; -1: any size; None: absent, or of any rank."""
        return next((_sizes(inner) for _, _, inner in self._items(name, 7)), None)

    def shapes(self, name: str) -> list[list[int] | None]:
        """A list of shapes."""
        return [
            _sizes(inner)
            for _, _, values in self._items(name, 1)
            for number, _, _, inner in fields(values)
            if number == 7
        ]

    def length(self, name: str) -> int:
        """The number of entries of a list."""
        return sum(1 for _, _, values in self._items(name, 1) for _ in fields(values))

    def functions(self, name: str = "") -> list[str]:
        """The functions that an attribute names; without a name: all attributes."""
        found = []
        for attribute in [name] if name else list(self._attributes):
            found += [part for _, _, inner in self._items(attribute, 10) for part in _function_name(inner)]
            for _, _, values in self._items(attribute, 1):
                found += [
                    part for number, _, _, inner in fields(values) if number == 9 for part in _function_name(inner)
                ]
        return found

    def constant(self, name: str = "value") -> tuple[list[int] | None, list[int] | None]:
        """The shape of a tensor attribute and, if it has few integers, those."""
        for _, _, inner in self._items(name, 8):
            return _tensor(inner)
        return None, None


def _sizes(body: memoryview) -> list[int] | None:
    dims = tensor_shape(body)
    return None if dims is None else [dim.size for dim in dims]


def _function_name(body: memoryview) -> list[str]:
    return [decode_text(inner) for number, _, _, inner in fields(body) if number == 1]


def _tensor(body: memoryview) -> tuple[list[int] | None, list[int] | None]:
    dtype, shape = 0, _sizes(memoryview(b""))
    content, values = memoryview(b""), []
    for number, kind, value, inner in fields(body):
        if number == 1:
            dtype = value
        elif number == 2:
            shape = _sizes(inner)
        elif number == 4:
            content = inner
        elif (number, dtype) in ((7, _INT32), (10, _INT64)) and (kind != LENGTH or len(inner) <= 10 * _MAX_CONTENT):
            values += [signed(item) for item in varints(kind, value, inner)]
    if dtype not in (_INT32, _INT64) or shape is None:
        return shape, None
    count, width = math.prod(shape), 4 if dtype == _INT32 else 8
    if not 0 <= count <= _MAX_CONTENT:
        return shape, None
    if content:
        if len(content) != count * width:
            return shape, None
        parts = (content[at : at + width] for at in range(0, len(content), width))
        return shape, [int.from_bytes(part, "little", signed=True) for part in parts]
    if len(values) > count:
        return shape, None
    return shape, values + [values[-1] if values else 0] * (count - len(values))


def index_nodes(bodies: Iterator[memoryview]) -> dict[str, memoryview]:
    """Return the NodeDef of each node, by name."""
    return {_name(body): body for body in bodies}


def _name(body: memoryview) -> str:
    return next((decode_text(inner) for number, _, _, inner in fields(body) if number == 1), "")


class FunctionBody:
    """A function of a graph's library.

    Args:
        body: its FunctionDef.
    """

    def __init__(self, body: memoryview) -> None:
        self._body = body

    @cached_property
    def nodes(self) -> Mapping[str, memoryview]:
        """The NodeDef of each node, by name."""
        return index_nodes(inner for number, _, _, inner in fields(self._body) if number == 3)

    @cached_property
    def arguments(self) -> list[str]:
        """The names of the arguments, in their order."""
        return self._names(2)

    @cached_property
    def results(self) -> list[NodeInput]:
        """What each result is, in the order of the results."""
        entries = (map_entry(inner) for number, _, _, inner in fields(self._body) if number == 4)
        returned = {name: _input(decode_text(value)) for name, value in entries}
        return [returned[name] for name in self._names(3) if name in returned]

    @cached_property
    def controls(self) -> list[str]:
        """The nodes that must run for their effects."""
        return [decode_text(map_entry(inner)[1]) for number, _, _, inner in fields(self._body) if number == 6]

    def _names(self, part: int) -> list[str]:
        return [
            _name(argument)
            for number, _, _, signature in fields(self._body)
            if number == 1
            for at, _, _, argument in fields(signature)
            if at == part
        ]


def index_functions(library: Iterator[memoryview]) -> dict[str, FunctionBody]:
    """Return each function of FunctionDefLibrary messages, by name."""
    functions = {}
    for body in library:
        for number, _, _, function in fields(body):
            if number == 1:
                name = next((_name(inner) for part, _, _, inner in fields(function) if part == 1), "")
                functions[name] = FunctionBody(function)
    return functions
