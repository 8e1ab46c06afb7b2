"""Which operations keep the rows of a batch apart: sizes, shapes, slices, reductions.

They do if they leave the first dimension as it is. Most of them say where they work in a small constant: axes, sizes,
paddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchard.savedmodel.nodes import GraphNode
from orchard.savedmodel.row_rules import counts_rows, lead, size_of
from orchard.savedmodel.row_values import BATCH, Dim, TensorKind, TensorValue, constant, mixed, per_row, rule, undecided

__all__: list[str] = []


def _axes(value: TensorValue, rank: int | None) -> list[int] | None:
    """The axes that a constant names, counted from the first; None: unknown."""
    numbers = value.numbers
    if numbers is None or rank is None or not all(-rank <= number < rank for number in numbers):
        return None
    return [number % rank for number in numbers]


def _or_constant(node: GraphNode, inputs: Sequence[TensorValue]) -> TensorValue | None:
    """The result of an operation without rows among its inputs; None: there are some."""
    if lead(inputs):
        return None
    return constant() if all(value.is_constant for value in inputs) else undecided(f"{node.op} of the number of rows")


@rule("Shape ShapeN")
def _shape(node: GraphNode, inputs: list[TensorValue]) -> list[TensorValue]:
    return [constant([value.rank], value.dims) for value in inputs]


@rule("Rank")
def _rank(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    return constant([], None if inputs[0].rank is None else [inputs[0].rank])


@rule("Size")
def _size(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    dims = inputs[0].dims
    return undecided("Size of rows") if lead(inputs) else constant([], None if dims is None else [size_of(dims)])


@rule("Sum Mean Max Min Prod Any All EuclideanNorm")
def _reduce(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, where = inputs
    if not data.is_per_row:
        return _or_constant(node, inputs) or undecided(f"{node.op} along axes that depend on the rows")
    axes = _axes(where, data.rank)
    if axes is None or data.dims is None:
        return undecided(f"{node.op} along unknown axes")
    if 0 in axes:
        return mixed(f"{node.op} over the rows")
    keep = node.boolean("keep_dims")
    return per_row([1 if at in axes else size for at, size in enumerate(data.dims) if at and (keep or at not in axes)])


@rule("ArgMax ArgMin")
def _best(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, where = inputs
    if not data.is_per_row:
        return _or_constant(node, inputs) or undecided(node.op)
    axes = _axes(where, data.rank)
    if not axes or data.dims is None:
        return undecided(f"{node.op} along an unknown axis")
    return (
        mixed(f"{node.op} over the rows")
        if 0 in axes
        else per_row([*data.dims[1 : axes[0]], *data.dims[axes[0] + 1 :]])
    )


@rule("Cumsum Cumprod CumulativeLogsumexp ReverseV2 Roll")
def _along(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, where = inputs[0], inputs[-1]
    if not data.is_per_row:
        return _or_constant(node, inputs) or undecided(node.op)
    axes = _axes(where, data.rank)
    if axes is None or not all(value.is_constant for value in inputs[1:]):
        return undecided(f"{node.op} along an unknown axis")
    return mixed(f"{node.op} over the rows") if 0 in axes else data


@rule("Reshape")
def _reshape(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, shape = inputs
    sizes = shape.content
    if not data.is_per_row:
        if counts_rows(inputs):
            return undecided("Reshape to the number of rows")
        known = sizes is not None and -1 not in sizes
        return constant(
            sizes if known else None if sizes is None else [None if s == -1 else s for s in sizes], data.content
        )
    if not sizes or data.dims is None:
        return undecided("Reshape of rows to an unknown shape")
    rest, inner = sizes[1:], data.dims[1:]
    if sizes[0] == BATCH and BATCH not in rest:
        return per_row([None if size == -1 else size for size in rest])
    if sizes[0] == -1 and BATCH not in rest and size_of(rest) is not None and size_of(rest) == size_of(inner):
        return per_row(rest)
    return undecided("Reshape that may move values from row to row")


@rule("ExpandDims")
def _expand(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, where = inputs
    axes = _axes(where, None if data.rank is None else data.rank + 1)
    if not data.is_per_row:
        if data.dims is not None and axes and where.is_constant:
            return constant((*data.dims[: axes[0]], 1, *data.dims[axes[0] :]), data.content)
        return replace(data, dims=None) if where.is_constant else undecided(node.op)
    if not axes or data.dims is None or axes[0] == 0:
        return undecided("ExpandDims before the rows")
    return per_row((*data.dims[1 : axes[0]], 1, *data.dims[axes[0] :]))


@rule("Squeeze")
def _squeeze(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data = inputs[0]
    axes = _axes(constant(content=node.integers("squeeze_dims")), data.rank)
    if not data.is_per_row:
        dims = None if data.dims is None or not axes else [size for at, size in enumerate(data.dims) if at not in axes]
        return constant(dims, data.content)
    if not axes or data.dims is None or 0 in axes:
        return undecided("Squeeze that may remove the dimension of the rows")
    return per_row([size for at, size in enumerate(data.dims) if at and at not in axes])


@rule("Transpose")
def _transpose(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, order = inputs
    if not data.is_per_row:
        return _or_constant(node, inputs) or undecided(node.op)
    axes = _axes(order, data.rank)
    if not axes or axes[0] != 0 or data.dims is None:
        return undecided("Transpose that moves the dimension of the rows")
    return per_row([data.dims[axis] for axis in axes[1:]])


@rule("Pack")
def _pack(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    if not lead(inputs):
        scalars = [value.content if value.rank == 0 and value.content else (None,) for value in inputs]
        if counts_rows(inputs) and any(value.rank != 0 for value in inputs):
            return undecided("Pack of the number of rows")
        flat = all(value.rank == 0 for value in inputs)
        return constant([len(inputs)] if flat else None, [item for part in scalars for item in part] if flat else None)
    first = inputs[0]
    rank = first.rank
    if rank is None or not all(value.is_per_row and value.rank == rank for value in inputs):
        return undecided("Pack of rows and other tensors")
    axis = node.integer("axis") % (rank + 1)
    dims = first.dims or ()
    return undecided("Pack before the rows") if axis == 0 else per_row((*dims[1:axis], len(inputs), *dims[axis:]))


@rule("ConcatV2")
def _concat(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    *parts, where = inputs
    if not lead(parts):
        if all(part.rank == 1 for part in parts):
            flat = [item for part in parts for item in (part.content or (None,))]
            exact = all(part.content is not None for part in parts)
            return constant([len(flat)] if exact else None, flat if exact else None) if exact else _unknown(parts)
        return _or_constant(node, inputs) or undecided(node.op)
    rank = parts[0].rank
    axes = _axes(where, rank)
    if not axes or axes[0] == 0:
        return undecided("ConcatV2 along the rows")
    if not all(part.is_per_row and part.rank == rank for part in parts):
        return undecided("ConcatV2 of rows and other tensors")
    dims = list(parts[0].dims or ())
    sizes = [(part.dims or ())[axes[0]] for part in parts]
    dims[axes[0]] = sum(size for size in sizes if isinstance(size, int)) if None not in sizes else None
    return per_row(dims[1:])


def _unknown(parts: Sequence[TensorValue]) -> TensorValue:
    return undecided("the number of rows among unknown sizes") if counts_rows(parts) else constant()


@rule("Split SplitV Unpack")
def _split(node: GraphNode, inputs: list[TensorValue]) -> list[TensorValue]:
    data = inputs[1] if node.op == "Split" else inputs[0]
    count = node.integer("num_split") or node.integer("num")
    axis_input = {"Split": 0, "SplitV": 2}.get(node.op)
    where = constant(content=[node.integer("axis")]) if axis_input is None else inputs[axis_input]
    if not data.is_per_row:
        if node.op == "Unpack" and data.rank == 1 and data.content is not None and len(data.content) == count:
            return [constant([], [item]) for item in data.content]
        return [_or_constant(node, inputs) or undecided(node.op)] * count
    axes = _axes(where, data.rank)
    if not axes or axes[0] == 0 or data.dims is None:
        return [undecided(f"{node.op} along the rows")] * count
    at = axes[0]
    middle: list[Dim] = [] if node.op == "Unpack" else [None]
    return [per_row((*data.dims[1:at], *middle, *data.dims[at + 1 :]))] * count


@rule("Pad PadV2 MirrorPad")
def _pad(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, paddings = inputs[:2]
    if not data.is_per_row:
        return _or_constant(node, inputs) or undecided(node.op)
    edges = paddings.content
    if data.dims is None or not edges or edges[:2] != (0, 0) or not all(value.is_constant for value in inputs[1:]):
        return undecided(f"{node.op} that may add rows")
    return per_row([None] * (len(data.dims) - 1))


@rule("Tile")
def _tile(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, times = inputs
    if not data.is_per_row:
        return _or_constant(node, inputs) or _rows_of_constant(data, times.content)
    if data.dims is None or not times.is_constant or not times.content or times.content[0] != 1:
        return undecided("Tile that may repeat rows")
    return per_row([None] * (len(data.dims) - 1))


def _rows_of_constant(data: TensorValue, sizes: Sequence[Dim] | None) -> TensorValue:
    """A constant repeated for each row, as Fill, BroadcastTo and Tile do."""
    dims = data.dims
    if not sizes or sizes[0] != BATCH or BATCH in sizes[1:] or dims is None or data.kind is not TensorKind.CONSTANT:
        return undecided("a shape with the number of rows")
    if len(dims) > len(sizes) or (len(dims) == len(sizes) and dims[0] != 1) or BATCH in (data.content or ()):
        return undecided("a shape with the number of rows")
    return per_row([None] * (len(sizes) - 1))


@rule("Fill BroadcastTo")
def _fill(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    sizes, data = inputs if node.op == "Fill" else inputs[::-1]
    if data.is_per_row:
        same = data.rank is not None and sizes.content is not None and len(sizes.content) == data.rank
        if same and sizes.content and sizes.content[0] == BATCH and BATCH not in sizes.content[1:]:
            return per_row(sizes.content[1:])
        return undecided(f"{node.op} of rows")
    if not counts_rows([sizes]):
        return constant(sizes.content) if not counts_rows([data]) else undecided(node.op)
    result = _rows_of_constant(data, sizes.content)
    return per_row((sizes.content or ())[1:]) if result.is_per_row else result


@rule("Range")
def _range(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    return _or_constant(node, inputs) or undecided("Range of rows")


@rule("Gather GatherV2 ResourceGather")
def _gather(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    table, index = inputs[:2]
    where = inputs[2] if len(inputs) > 2 else constant(content=[0])
    batch = node.integer("batch_dims")
    if not table.is_per_row and not index.is_per_row:
        if table.content and index.numbers and index.rank == 0 and 0 <= index.numbers[0] < len(table.content):
            return constant([], [table.content[index.numbers[0]]])
        return _or_constant(node, inputs) or undecided(f"{node.op} of the number of rows")
    axes = _axes(where, table.rank) if table.rank else list(where.numbers or ())
    if not axes or table.dims is None or index.dims is None:
        return undecided(f"{node.op} of an unknown number of dimensions")
    if table.is_constant and index.is_per_row and axes[0] == 0 and batch == 0:
        return per_row([*index.dims[1:], *table.dims[1:]])
    at = axes[0]
    if table.is_per_row and index.is_constant and at and batch == 0:
        return per_row([*table.dims[1:at], *index.dims, *table.dims[at + 1 :]])
    if table.is_per_row and index.is_per_row and 0 < batch <= at:
        return per_row([*table.dims[1:at], *index.dims[batch:], *table.dims[at + 1 :]])
    return undecided(f"{node.op} that may read other rows")


@rule("GatherNd")
def _gather_nd(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    table, index = inputs
    if not lead(inputs):
        return _or_constant(node, inputs) or undecided(node.op)
    if table.is_constant and index.is_per_row and (index.rank or 0) >= 2:
        return per_row(None)
    return undecided("GatherNd that may read other rows")


@rule("Slice")
def _slice(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, begin, size = inputs
    if not data.is_per_row:
        return _or_constant(node, inputs) or undecided(node.op)
    starts, sizes = begin.content, size.content
    if data.dims is None or not starts or not sizes or starts[0] != 0 or sizes[0] not in (-1, BATCH):
        return undecided("Slice of some rows")
    if BATCH in (*starts[1:], *sizes[1:]):
        return undecided("Slice by the number of rows")
    return per_row([None if number == -1 else number for number in sizes[1:]])
