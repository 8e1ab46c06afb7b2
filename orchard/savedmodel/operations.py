"""The TensorFlow operations that a served model may have.

It lists allowed operations, not forbidden ones: TensorFlow has some 1,500 operations, more with every release, and many
of them read and write files, call Python or open sockets. Allowed are the operations that image models need to decode,
resize and predict, and those that the loader needs to restore variables. The list is maintained by hand and started with
the operations of exported models (tests/serving/sync compare it with a real one).
"""

from __future__ import annotations

from collections.abc import Iterable

from orchard.errors import IntegrityError
from orchard.savedmodel.graph import GraphOperations

__all__ = ["ALLOWED", "SAVER_ONLY", "check_names", "check_operations"]

_GRAPH = "Const Identity IdentityN NoOp Placeholder PlaceholderWithDefault PreventGradient StopGradient EnsureShape"
_CALLS = "PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile Case StatelessCase"
_DECODE = "DecodeJpeg DecodeAndCropJpeg DecodePng DecodeImage DecodeBmp ExtractJpegShape Substr"
_RESIZE = """ResizeBilinear ResizeArea ResizeBicubic ResizeNearestNeighbor ScaleAndTranslate CropAndResize
    AdjustContrastv2 RGBToHSV HSVToRGB"""
_ARITHMETIC = """Abs Add AddN AddV2 BiasAdd BiasAddV1 Cast Ceil ClipByValue DivNoNan Einsum Elu Erf Exp Expm1 Floor FloorDiv
    FloorMod Gelu LeakyRelu Log Log1p LogSoftmax MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Max Maximum Mean Min Minimum
    Mul Neg Pow Prod RealDiv Reciprocal Relu Relu6 Round Rsqrt Selu Sigmoid Sign Softmax Softplus Softsign Sqrt Square
    SquaredDifference Sub Sum Tanh TruncateDiv TruncateMod"""
_IMAGE_NETS = """AvgPool Conv2D DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 LRN MaxPool
    SpaceToBatchND BatchToSpaceND SpaceToDepth DepthToSpace L2Loss"""
_COMPARE = """All Any ArgMax ArgMin Equal Greater GreaterEqual InTopKV2 IsFinite IsInf IsNan Less LessEqual LogicalAnd
    LogicalNot LogicalOr NotEqual Select SelectV2 TopK TopKV2 Where"""
_SHAPES = """BroadcastArgs BroadcastTo Concat ConcatV2 ExpandDims Fill Gather GatherNd GatherV2 MirrorPad OneHot OnesLike Pack
    Pad PadV2 ParallelConcat Range Rank Reshape ResourceGather ReverseV2 ScatterNd Shape ShapeN Size Slice Split SplitV
    Squeeze StridedSlice TensorScatterUpdate Tile Transpose Unpack ZerosLike"""
_LISTS = """EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGetItem TensorListLength
    TensorListPopBack TensorListPushBack TensorListReserve TensorListResize TensorListSetItem TensorListSplit TensorListStack
    TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayScatterV3 TensorArrayGatherV3 TensorArraySizeV3
    TensorArrayCloseV3 Enter Exit LoopCond Merge NextIteration Switch"""
_STRINGS = "AsString StaticRegexFullMatch StringJoin StringLength StringLower StringUpper"
_EXAMPLES = "ParseExample ParseExampleV2 ParseSingleExample DecodeRaw"
_TABLES = (
    """HashTableV2 LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2 MutableHashTableV2"""
)
_VARIABLES = """Assign AssignVariableOp DestroyResourceOp DisableCopyOnRead ReadVariableOp RestoreV2 Variable VariableV2 VarHandleOp
    VarIsInitializedOp IsVariableInitialized"""
_CHECKS = "Assert CheckNumerics CheckNumericsV2"

_GROUPS = (_GRAPH, _CALLS, _DECODE, _RESIZE, _ARITHMETIC, _IMAGE_NETS, _COMPARE, _SHAPES, _LISTS, _STRINGS, _EXAMPLES)

ALLOWED = frozenset(" ".join((*_GROUPS, _TABLES, _VARIABLES, _CHECKS)).split())
"""Operations that may run in a prediction and while the model is loaded."""

SAVER_ONLY = frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename"})
"""Operations that save a checkpoint. Every model with variables has them, but they write files: none may be reachable."""


def check_names(names: Iterable[str], what: str) -> None:
    """Check that operations are allowed. Raises `IntegrityError` with the names of those that are not."""
    forbidden = sorted(set(names) - ALLOWED - SAVER_ONLY)
    if forbidden:
        raise IntegrityError(
            f"{what} has operations that are not allowed in a served model: {', '.join(forbidden[:8])}",
            hint="orchard/savedmodel/operations.py lists the allowed operations and the reason",
        )


def check_operations(operations: GraphOperations, declared: Iterable[str], what: str) -> None:
    """Check that a graph's operations are allowed and declared.

    Args:
        operations: the graph's operations.
        declared: the operations that the manifest names.
        what: the file, for messages.

    Raises:
        IntegrityError: an operation is not allowed, not declared, or saves files and can be reached.
    """
    check_names(operations.all, what)
    writing = sorted(operations.reachable & SAVER_ONLY)
    if writing:
        raise IntegrityError(f"{what}: a signature or the loader would run {', '.join(writing)}, which write files")
    hidden = sorted(operations.all - set(declared))
    if hidden:
        raise IntegrityError(f"{what} has operations that its manifest does not name: {', '.join(hidden[:8])}")
