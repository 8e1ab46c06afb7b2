"""Whether StridedSlice, the ``x[…]`` of Python, keeps the rows of a batch apart."""

from __future__ import annotations

from dataclasses import dataclass

from orchard.savedmodel.nodes import GraphNode
from orchard.savedmodel.row_rules import counts_rows
from orchard.savedmodel.row_values import Dim, TensorValue, constant, per_row, rule, undecided

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class _SliceItem:
    """One item of ``x[…]``: ``:``, ``a:b:c``, an index, ``None`` or ``...``."""

    whole: bool
    index: bool
    new: bool
    rest: bool


def _items(node: GraphNode, strides: tuple[int, ...]) -> list[_SliceItem]:
    def has(mask: str, at: int) -> bool:
        return bool(node.integer(mask) >> at & 1)

    items = []
    for at, stride in enumerate(strides):
        rest, new = has("ellipsis_mask", at), has("new_axis_mask", at)
        whole = has("begin_mask", at) and has("end_mask", at) and stride == 1
        index = has("shrink_axis_mask", at) and not (rest or new)
        items.append(_SliceItem(whole=whole and not index, index=index, new=new and not rest, rest=rest))
    return items


def _expanded(items: list[_SliceItem], rank: int) -> list[_SliceItem] | None:
    """The items with ``...`` written out as ``:``, one for each dimension; None: there are too many."""
    used = sum(not (item.new or item.rest) for item in items)
    if used > rank:
        return None
    whole = _SliceItem(whole=True, index=False, new=False, rest=False)
    if not any(item.rest for item in items):
        return items + [whole] * (rank - used)
    at = next(place for place, item in enumerate(items) if item.rest)
    return [*items[:at], *[whole] * (rank - used), *items[at + 1 :]]


@rule("StridedSlice")
def _strided(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, begin, end, strides = inputs
    if not data.is_per_row:
        return _of_constant(node, inputs)
    items = (
        None if strides.numbers is None or data.rank is None else _expanded(_items(node, strides.numbers), data.rank)
    )
    if not items or data.dims is None:
        return undecided("StridedSlice of unknown dimensions")
    if items[0].new or not items[0].whole or counts_rows([begin, end]):
        return undecided("StridedSlice of some rows")
    if not (begin.is_constant and end.is_constant):
        return undecided("StridedSlice by values of rows")
    sizes: list[Dim] = []
    left = list(data.dims)
    for item in items:
        if item.new:
            sizes.append(1)
            continue
        size = left.pop(0)
        if not item.index:
            sizes.append(size if item.whole else None)
    return per_row(sizes[1:])


def _of_constant(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    """A slice of sizes gives sizes; of any other constant a constant."""
    data, begin, end, strides = inputs
    if counts_rows(inputs[1:]) or any(value.is_per_row for value in inputs):
        return undecided("StridedSlice by the number of rows")
    content, starts, ends, steps = data.content, begin.numbers, end.numbers, strides.numbers
    plain = not any(node.integer(mask) for mask in ("ellipsis_mask", "new_axis_mask"))
    if content is None or data.rank != 1 or not starts or not ends or not steps or len(starts) != 1 or not plain:
        return undecided("StridedSlice of the number of rows") if counts_rows(inputs) else constant()
    if node.integer("shrink_axis_mask") & 1:
        inside = -len(content) <= starts[0] < len(content)
        return constant([], [content[starts[0]]]) if inside else undecided("StridedSlice beyond the end")
    first = None if node.integer("begin_mask") & 1 else starts[0]
    last = None if node.integer("end_mask") & 1 else ends[0]
    part = content[first : last : steps[0]] if steps[0] else ()
    return constant([len(part)], part)
