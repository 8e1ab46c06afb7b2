"""Which operations keep the rows of a batch apart: arithmetic, networks, texts, tables.

Only operations that are listed here or in `row_shapes.py`, with attributes that keep the rows apart, are proved to.
Whatever else a graph has is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from orchard.savedmodel.nodes import GraphNode
from orchard.savedmodel.row_values import BATCH, Dims, TensorValue, constant, mixed, per_row, rule, undecided

__all__: list[str] = []

_UNARY = """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Digamma Elu Erf Erfinv Exp Expm1 Floor Gelu Inv Invert IsFinite
    IsInf IsNan LeakyRelu Lgamma Log Log1p LogicalNot Ndtri Neg Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin
    Sinh Softplus Softsign Sqrt Square Tan Tanh Bucketize Angle ComplexAbs Conj Imag Real ZerosLike OnesLike
    AsString DecodeBase64 EncodeBase64 StaticRegexFullMatch StaticRegexReplace StringLength StringLower StringStrip
    StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper
    FakeQuantWithMinMaxArgs"""
_SAME = "CheckNumerics CheckNumericsV2 EnsureShape Identity PlaceholderWithDefault PreventGradient Snapshot StopGradient Cast"
_BROADCAST = """Add AddV2 AddN ApproximateEqual Atan2 BitwiseAnd BitwiseOr BitwiseXor ClipByValue Complex Div DivNoNan Equal
    FloorDiv FloorMod Greater GreaterEqual Igamma Igammac LeftShift Less LessEqual LogicalAnd LogicalOr Maximum Minimum Mod
    Mul MulNoNan NextAfter NotEqual Pow RealDiv RegexFullMatch RegexReplace RightShift SelectV2 SquaredDifference StringJoin Sub Substr
    TruncateDiv TruncateMod Xdivy Xlog1py Xlogy Zeta"""
_WINDOWS = "AvgPool AvgPool3D Conv2D Conv3D DepthwiseConv2dNative Dilation2D LRN MaxPool MaxPool3D"
_RESIZE = "ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor"


def lead(inputs: Sequence[TensorValue]) -> TensorValue | None:
    """Return the first input with rows."""
    return next((value for value in inputs if value.is_per_row), None)


def counts_rows(inputs: Sequence[TensorValue]) -> bool:
    """Whether an input depends on the number of rows."""
    return any(BATCH in (value.content or ()) for value in inputs)


@rule(_SAME)
def _same(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    return inputs[0]


@rule("IdentityN")
def _all_same(node: GraphNode, inputs: list[TensorValue]) -> list[TensorValue]:
    return inputs


@rule(_UNARY)
def _unary(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    first = inputs[0]
    if counts_rows(inputs) and node.op not in ("ZerosLike", "OnesLike"):
        return undecided(f"{node.op} of the number of rows")
    if first.is_per_row and any(value.is_per_row for value in inputs[1:]):
        return undecided(f"{node.op} with a parameter that depends on the rows")
    return replace(first, content=None)


def broadcast(op: str, inputs: Sequence[TensorValue]) -> TensorValue:
    """The result of an operation that broadcasts its inputs, element by element."""
    if counts_rows(inputs):
        return undecided(f"{op} of the number of rows")
    first = lead(inputs)
    if first is None:
        return constant(_common(inputs))
    for value in inputs:
        if value.rank is None or first.rank is None:
            return undecided(f"{op} of tensors whose number of dimensions is unknown")
        if not _aligned(value, first.rank):
            return undecided(f"{op} of rows and a tensor that is not the same for each of them")
    return per_row((_common(inputs) or ())[1:])


def _common(inputs: Sequence[TensorValue]) -> Dims | None:
    """The sizes of broadcast tensors; the first one of rows is `BATCH`."""
    if any(value.dims is None for value in inputs):
        return None
    shapes = [value.dims or () for value in inputs]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


@rule(_BROADCAST)
def _broadcast(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    return broadcast(node.op, inputs)


@rule("Select")
def _select(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    """A condition of one dimension chooses whole rows."""
    condition, *branches = inputs
    if condition.rank == 1 and condition.is_per_row and all(value.is_per_row for value in branches):
        return branches[0]
    if condition.rank != 0 and not condition.is_per_row and lead(branches):
        return undecided("Select of rows by a constant")
    return broadcast(node.op, inputs)


@rule("BiasAdd BiasAddV1")
def _bias(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, bias = inputs
    if data.is_per_row and bias.is_constant and (data.rank or 0) >= 2:
        return data
    return broadcast(node.op, inputs) if not data.is_per_row else undecided(f"{node.op} over the rows")


@rule("MatMul")
def _matmul(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    left, right = inputs
    if all(value.is_constant for value in inputs):
        return constant()
    if left.is_per_row and right.is_constant and not node.boolean("transpose_a"):
        return per_row([_other(right, last=not node.boolean("transpose_b"))])
    return mixed("MatMul multiplies rows with each other")


def _other(matrix: TensorValue, *, last: bool) -> int | str | None:
    return None if not matrix.dims or len(matrix.dims) < 2 else matrix.dims[-1 if last else -2]


@rule("BatchMatMul BatchMatMulV2 BatchMatMulV3")
def _batch_matmul(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    left, right = inputs
    if all(value.is_constant for value in inputs):
        return constant()
    first = left if left.is_per_row else right
    rank = first.rank
    if rank == 2 and first is left and right.is_constant and right.rank == 2 and not node.boolean("adj_x"):
        return per_row([_other(right, last=not node.boolean("adj_y"))])
    if not rank or rank < 3 or not all(_aligned(value, rank) for value in inputs):
        return undecided(f"{node.op} of tensors that are not known to have the rows first")
    middle = broadcast(node.op, [replace(value, dims=(value.dims or ())[:-2] or (1,)) for value in inputs])
    if middle.dims is None:
        return undecided(middle.reason)
    ends = _other(left, last=node.boolean("adj_x")), _other(right, last=not node.boolean("adj_y"))
    return per_row([*middle.dims[1:], *ends])


def _aligned(value: TensorValue, rank: int) -> bool:
    """Whether a tensor, broadcast with rows of this many dimensions, is the same for each row, or one of the rows."""
    if value.is_per_row or value.rank is None or not value.dims:
        return value.rank == rank or value.rank == 0
    return value.is_constant and (value.rank < rank or (value.rank == rank and value.dims[0] == 1))


@rule("Einsum")
def _einsum(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    if all(value.is_constant for value in inputs):
        return constant()
    terms, _, result = node.text("equation").replace(" ", "").partition("->")
    labels = terms.split(",")
    first = next((term for term, value in zip(labels, inputs, strict=False) if value.is_per_row), "")
    row = first[:1]
    fits = len(labels) == len(inputs) and row.isalpha() and result.startswith(row)
    for term, value in zip(labels, inputs, strict=False):
        fits = fits and (term.startswith(row) and term.count(row) == 1 if value.is_per_row else row not in term)
        fits = fits and (value.is_per_row or value.is_constant) and "." not in term
    if not fits or result.count(row) != 1:
        return undecided(f"Einsum {node.text('equation')!r}")
    sizes: dict[str, int | str | None] = {}
    for term, value in zip(labels, inputs, strict=True):
        sizes.update(zip(term, value.dims or (None,) * len(term), strict=False))
    return per_row([sizes.get(label) for label in result[1:]])


@rule(_WINDOWS)
def _windows(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, *parameters = inputs
    if not data.is_per_row:
        return constant() if all(value.is_constant for value in inputs) else undecided(f"{node.op} of rows as filters")
    across = [node.integers(name)[:1] for name in ("strides", "ksize", "dilations", "rates")]
    if not all(value.is_constant for value in parameters) or any(first not in ([], [1]) for first in across):
        return undecided(f"{node.op} with a parameter that depends on the rows")
    return per_row([None] * (4 if "3D" in node.op else 3))


@rule("FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3")
def _batch_norm(node: GraphNode, inputs: list[TensorValue]) -> Sequence[TensorValue]:
    rest = [undecided(f"statistics of {node.op}")] * 5
    if not inputs[0].is_per_row and all(value.is_constant for value in inputs):
        return [constant(inputs[0].dims)] * 6
    if node.boolean("is_training", default=True):
        return [mixed(f"{node.op} in training mode uses the statistics of the batch"), *rest]
    if not all(value.is_constant for value in inputs[1:]):
        return [undecided(f"{node.op} with a parameter that depends on the rows"), *rest]
    return [inputs[0], *rest]


@rule(_RESIZE)
def _resize(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, size = inputs
    if not size.is_constant:
        return undecided(f"{node.op} to a size that depends on the rows")
    channels = data.dims[-1] if data.dims else None
    sizes = list(size.content) if size.content and len(size.content) == 2 else [None, None]
    return per_row([*sizes, channels]) if data.is_per_row else constant()


@rule("Softmax LogSoftmax")
def _softmax(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    if inputs[0].is_per_row and inputs[0].rank == 1:
        return mixed(f"{node.op} over the rows")
    return inputs[0] if inputs[0].rank else undecided(f"{node.op} of an unknown number of dimensions")


@rule("TopKV2 TopK")
def _top(node: GraphNode, inputs: list[TensorValue]) -> Sequence[TensorValue]:
    data = inputs[0]
    if data.is_per_row and data.rank == 1:
        return [mixed(f"{node.op} over the rows")] * 2
    if data.dims is None or not all(value.is_constant for value in inputs[1:]):
        return [undecided(node.op)] * 2
    count = inputs[1].content[0] if len(inputs) > 1 and inputs[1].content else None
    return [replace(data, dims=(*data.dims[:-1], count), content=None)] * 2


@rule("LookupTableFind LookupTableFindV2")
def _find(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    table, keys, default = inputs
    if not (table.is_constant and default.is_constant):
        return undecided(f"{node.op} with a parameter that depends on the rows")
    return replace(keys, content=None)


@rule("ParseExample ParseExampleV2")
def _parse(node: GraphNode, inputs: list[TensorValue]) -> Sequence[TensorValue]:
    """Dense features are rows; a sparse one depends on all rows, and so does a dense one of any length (padding)."""
    if not inputs[0].is_per_row or inputs[0].rank != 1 or not all(value.is_constant for value in inputs[1:]):
        return [undecided(node.op)]
    sparse = node.integer("num_sparse") if node.op.endswith("V2") else node.integer("Nsparse")
    outputs = [undecided(f"{node.op} with a sparse feature")] * (3 * sparse)
    for dims in node.shapes("dense_shapes"):
        known = dims is not None and min(dims, default=0) >= 0
        outputs.append(per_row(dims) if known and dims is not None else undecided(f"{node.op} with padding"))
    return outputs


@rule("DecodeRaw")
def _decode(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    dims = inputs[0].dims
    return replace(inputs[0], dims=None if dims is None else (*dims, None), content=None)


@rule("OneHot")
def _one_hot(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    data, depth = inputs[0], inputs[1]
    if not data.is_per_row:
        return constant() if all(value.is_constant for value in inputs) else undecided(node.op)
    axis = node.integer("axis", -1)
    if data.dims is None or axis == 0 or not all(value.is_constant for value in inputs[1:]):
        return undecided(f"{node.op} along the rows")
    at = len(data.dims) if axis < 0 else axis
    return per_row([*data.dims[1:at], depth.content[0] if depth.content else None, *data.dims[at:]])


@rule("L2Loss")
def _loss(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    return mixed(f"{node.op} over the rows") if inputs[0].is_per_row else constant(())


@rule("Const")
def _const(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    dims, content = node.constant()
    return constant(dims, content)


@rule("VarHandleOp Variable VariableV2")
def _variable(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    """A handle has the sizes of its variable, so that reading it has them too."""
    dims = node.shape("shape")
    return constant(None if dims is None else [None if size < 0 else size for size in dims])


@rule("ReadVariableOp HashTable HashTableV2 MutableHashTable MutableHashTableV2 DisableCopyOnRead")
def _read(node: GraphNode, inputs: list[TensorValue]) -> TensorValue:
    return inputs[0] if inputs else constant()


def size_of(dims: Dims) -> int | None:
    """The product of sizes; None: one is unknown."""
    return math.prod(size for size in dims if isinstance(size, int)) if all(isinstance(s, int) for s in dims) else None
