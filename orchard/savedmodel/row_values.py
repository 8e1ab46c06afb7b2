"""What is known of a tensor before a model runs: constant, one row for each request row, or a mixture of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from orchard.savedmodel.nodes import GraphNode

__all__ = [
    "BATCH",
    "RULES",
    "Dim",
    "Dims",
    "TensorKind",
    "TensorValue",
    "constant",
    "known_dims",
    "mixed",
    "per_row",
    "rule",
    "undecided",
]

BATCH = "N"
"""The size of the first dimension: the number of rows that run together."""

Dim = int | str | None
"""A size: a number, `BATCH`, or None: unknown, but the same for all requests that may run together."""

Dims = tuple[Dim, ...]


class TensorKind(Enum):
    """How a tensor depends on the rows that run together."""

    CONSTANT = "constant"
    PER_ROW = "per row"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class TensorValue:
    """What is known of a tensor.

    Attributes:
        kind: CONSTANT: the same whatever the rows are, except for `content`; PER_ROW: its first dimension is `BATCH`, and
            each row depends on the same row of the inputs alone; MIXED: neither is known.
        dims: its sizes; None: their number is unknown.
        content: the values of a tensor of few integers, such as sizes and axes; `BATCH` among them: it depends on the
            number of rows.
        reason: of MIXED: why.
        proved: of MIXED: it does depend on other rows; else this is only unknown.
    """

    kind: TensorKind
    dims: Dims | None = None
    content: Dims | None = None
    reason: str = ""
    proved: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether it depends neither on the rows nor on their number."""
        return self.kind is TensorKind.CONSTANT and BATCH not in (self.content or ())

    @property
    def is_per_row(self) -> bool:
        """Whether it has one row for each row of the inputs."""
        return self.kind is TensorKind.PER_ROW

    @property
    def rank(self) -> int | None:
        """The number of its dimensions; None: unknown."""
        return None if self.dims is None else len(self.dims)

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """Its content, if all of it is known."""
        content = self.content
        if content is None or not all(isinstance(item, int) for item in content):
            return None
        return tuple(item for item in content if isinstance(item, int))


def constant(dims: Iterable[Dim] | None = None, content: Iterable[Dim] | None = None) -> TensorValue:
    """A constant."""
    return TensorValue(
        TensorKind.CONSTANT,
        None if dims is None else tuple(dims),
        None if content is None else tuple(content),
    )


def per_row(dims: Iterable[Dim] | None) -> TensorValue:
    """A tensor with one row for each row of the inputs; `dims` without the first one, None: their number is unknown."""
    return TensorValue(TensorKind.PER_ROW, None if dims is None else (BATCH, *dims))


def mixed(reason: str) -> TensorValue:
    """A tensor that depends on the other rows."""
    return TensorValue(TensorKind.MIXED, reason=reason, proved=True)


def undecided(reason: str) -> TensorValue:
    """A tensor of which nothing is known."""
    return TensorValue(TensorKind.MIXED, reason=reason)


def known_dims(value: TensorValue, hint: Sequence[int] | None) -> TensorValue:
    """Return the value with the sizes that a graph records (-1: any), where its own are unknown."""
    if hint is None or value.kind is TensorKind.MIXED:
        return value
    recorded: list[Dim] = [None if size < 0 else size for size in hint]
    if value.is_per_row:
        if not recorded:
            return value
        recorded[0] = BATCH
    if value.dims is None:
        return replace(value, dims=tuple(recorded))
    if len(value.dims) != len(recorded):
        return value
    return replace(
        value, dims=tuple(old if old is not None else new for old, new in zip(value.dims, recorded, strict=True))
    )


Rule = Callable[[GraphNode, list[TensorValue]], Sequence[TensorValue] | TensorValue]
RULES: dict[str, Rule] = {}
"""For each known operation the function that says what its outputs are. No input of it is MIXED."""


def rule(names: str) -> Callable[[Any], Any]:
    """Register a function for operations, separated by spaces."""

    def register(function: Any) -> Any:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return register
