"""Whether a signature's answer for a row can depend on the other rows of its batch, judged from the graph.

The walk follows each tensor from the inputs, whose first dimension is the rows, to the outputs, through functions. An
output is proved to be independent if every operation on its way is known to keep the rows apart. A test with example
rows cannot show this: a model may depend on other rows only where a value is huge, or not a number, or the photo of a cat.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orchard.savedmodel.row_shapes
import orchard.savedmodel.row_slices  # noqa: F401  (both register their rules)
from orchard.savedmodel.nodes import FunctionBody, GraphNode, NodeInput, index_functions, index_nodes
from orchard.savedmodel.row_rules import counts_rows
from orchard.savedmodel.row_values import (
    RULES,
    Dim,
    TensorKind,
    TensorValue,
    constant,
    known_dims,
    mixed,
    per_row,
    undecided,
)
from orchard.savedmodel.signatures import SignatureDef, read_document, served_meta_graph
from orchard.savedmodel.wire import WireError, fields

__all__ = ["RowAnalysis", "RowVerdict"]

_MAX_VISITS, _MAX_DEPTH = 100_000, 64
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_RESULTS = {"TopKV2": ("values", "indices"), "TopK": ("values", "indices")}
_EFFECTS = re.compile(
    r"Assign|Random|Multinomial|Normal(?!ize)|StatefulUniform|StatelessUniform|Dropout|Rng|Shuffle|Queue|Barrier|Stage|Iterator"
    r"|PyFunc|Print|Timestamp|Summary|WriteFile|Save|Import|Insert|TableRemove|Apply|ScatterNdUpdate|Resource\w*Scatter"
    r"|^Scatter(?!Nd$)|Mutex|Counter|CountUpTo|Accumulator|Generate\w*Seed|NextElement"
)
ShapeLookup = Callable[[str, int], Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class RowVerdict:
    """What the graph shows about a signature.

    Attributes:
        independent: True: proved; False: refuted, or the model keeps state or draws random numbers; None: undecided.
        reason: why.
    """

    independent: bool | None
    reason: str


@dataclass(slots=True)
class _Scope:
    """The nodes of the graph or of one call of a function, and the values found so far."""

    nodes: Mapping[str, memoryview]
    depth: int
    values: dict[str, Sequence[TensorValue]] = field(default_factory=dict)
    decoded: dict[str, GraphNode] = field(default_factory=dict)
    lookup: ShapeLookup | None = None

    def node(self, name: str) -> GraphNode | None:
        """Decode a node, once; None: it does not exist."""
        node = self.decoded.get(name)
        if node is None and name in self.nodes:
            node = self.decoded[name] = GraphNode(self.nodes[name])
        return node


class RowAnalysis:
    """The served graph of a SavedModel, to be judged signature by signature.

    Args:
        folder: the version's folder.
        lookup: returns the sizes (-1: any) that TensorFlow knows of an output of a node; None: their number is unknown.

    Raises:
        OSError: there is no readable SavedModel.
        WireError: it is malformed.
    """

    def __init__(self, folder: Path, lookup: ShapeLookup | None = None) -> None:
        meta_graph = served_meta_graph(read_document(folder))
        if meta_graph is None:
            raise WireError("it has no graph for serving")
        graphs = [inner for number, _, _, inner in fields(meta_graph) if number == 2]
        self._nodes = index_nodes(inner for graph in graphs for number, _, _, inner in fields(graph) if number == 1)
        self._functions = index_functions(
            inner for graph in graphs for number, _, _, inner in fields(graph) if number == 2
        )
        self._lookup = lookup
        self._visits = 0

    def judge(self, signature: SignatureDef) -> RowVerdict:
        """Return what the graph shows about a signature. Raises `WireError` if it is malformed."""
        self._visits = 0
        scope = _Scope(self._nodes, 0, lookup=self._lookup)
        outputs = [_tensor(info.name) for info in signature.outputs.values()]
        effect = self._effect([output.node for output in outputs])
        if effect:
            return RowVerdict(False, f"{effect} has a state or a side effect")
        for info in signature.inputs.values():
            fed = _tensor(info.name)
            dims: list[Dim] = [None if dim.size < 0 else dim.size for dim in info.shape or ()]
            slots = list(scope.values.get(fed.node, ()))
            slots += [undecided(f"{fed.node} is fed in part")] * (fed.index + 1 - len(slots))
            slots[fed.index] = per_row(dims[1:] if dims else None)
            scope.values[fed.node] = slots
        for alias, output in zip(signature.outputs, outputs, strict=True):
            value = self._value(scope, output)
            if not value.is_per_row:
                reason = value.reason or "it does not have one row for each row of the inputs"
                refuted = value.kind is TensorKind.CONSTANT or value.proved
                return RowVerdict(False if refuted else None, f"output {alias}: {reason}")
        return RowVerdict(True, "every operation keeps the rows apart")

    # effects

    def _effect(self, roots: Iterable[str]) -> str:
        """Return an operation with a state or a side effect that runs for these nodes; "": there is none."""
        waiting: list[tuple[Mapping[str, memoryview], str]] = [(self._nodes, name) for name in roots]
        seen: set[tuple[int, str]] = set()
        while waiting:
            nodes, name = waiting.pop()
            if (id(nodes), name) in seen or name not in nodes:
                continue
            seen.add((id(nodes), name))
            node = GraphNode(nodes[name])
            if _EFFECTS.search(node.op):
                return node.op
            waiting += [(nodes, source.node) for source in node.inputs]
            waiting += [(nodes, control) for control in node.controls]
            for called in {*node.functions(), node.op}:
                body = self._functions.get(called)
                if body:
                    waiting += [(body.nodes, inner) for inner in body.nodes]
        return ""

    # values

    def _value(self, scope: _Scope, wanted: NodeInput) -> TensorValue:
        """Find the value of a tensor, after those that it depends on; without recursion, for graphs of any depth."""
        stack = [wanted.node]
        open_nodes: set[str] = set()
        while stack:
            name = stack[-1]
            node = scope.node(name)
            if name in scope.values or node is None:
                stack.pop()
                continue
            missing = [source.node for source in node.inputs if source.node not in scope.values]
            missing = [source for source in missing if scope.node(source) is not None]
            if missing and name not in open_nodes:
                open_nodes.add(name)
                stack += missing
                continue
            stack.pop()
            scope.values[name] = self._visit(scope, name, node)
        return _pick(scope, wanted)

    def _visit(self, scope: _Scope, name: str, node: GraphNode) -> Sequence[TensorValue]:
        self._visits += 1
        if self._visits > _MAX_VISITS:
            return [undecided("the graph is too large to be judged")]
        inputs = [_pick(scope, source) for source in node.inputs]
        outputs = self._outputs(scope, node, inputs)
        hints = node.shapes("_output_shapes")
        if node.op == "VarHandleOp":  # the sizes of its variable, not those of the handle
            return outputs
        if scope.lookup and not hints:
            hints = [_listed(scope.lookup(name, index)) for index in range(len(outputs))]
        return [known_dims(value, hints[index] if index < len(hints) else None) for index, value in enumerate(outputs)]

    def _outputs(self, scope: _Scope, node: GraphNode, inputs: list[TensorValue]) -> Sequence[TensorValue]:
        function = self._called(node)
        if function is not None:
            return self._call(scope, function, inputs)
        if node.op in _BRANCHES:
            return self._branches(scope, node, inputs)
        spoilt = _spoilt(inputs)
        if spoilt:
            return [spoilt]
        if node.op in _SHUFFLES and any(value.is_per_row for value in inputs):
            return [mixed(f"{node.op} of the rows")]
        if counts_rows(inputs) and node.op not in _COUNTING:
            return [undecided(f"{node.op} of the number of rows")]
        known = RULES.get(node.op)
        if known is None:
            return [undecided(f"{node.op} is not known to keep the rows apart")]
        try:
            found = known(node, inputs)
        except (IndexError, ValueError):  # too few inputs: TensorFlow would not load this graph
            return [undecided(f"{node.op} is malformed")]
        return [found] if isinstance(found, TensorValue) else found

    def _called(self, node: GraphNode) -> FunctionBody | None:
        if node.op in _CALLS:
            names = node.functions("f")
            return self._functions.get(names[0]) if names else None
        return self._functions.get(node.op)  # TensorFlow 1 calls a function by an operation of its name

    def _call(self, scope: _Scope, function: FunctionBody, inputs: list[TensorValue]) -> Sequence[TensorValue]:
        if scope.depth >= _MAX_DEPTH:
            return [undecided("its functions are nested too deeply")] * max(1, len(function.results))
        inner = _Scope(function.nodes, scope.depth + 1)
        inner.values.update({name: [value] for name, value in zip(function.arguments, inputs, strict=False)})
        return [self._value(inner, result) for result in function.results]

    def _branches(self, scope: _Scope, node: GraphNode, inputs: list[TensorValue]) -> Sequence[TensorValue]:
        """Both branches, if which of them runs is the same whatever the rows are."""
        condition, *rest = inputs
        bodies = [self._functions[name] for name in node.functions() if name in self._functions]
        if not condition.is_constant or not bodies:
            decided = _spoilt([condition])
            return [decided or undecided(f"{node.op}: its condition depends on the rows")]
        outcomes = [self._call(scope, body, rest) for body in bodies]
        return [_either(values) for values in zip(*outcomes, strict=False)]


# fmt: off
_COUNTING = frozenset((
    "Identity", "IdentityN", "Cast", "EnsureShape", "StopGradient", "PreventGradient", "Snapshot", "PlaceholderWithDefault",
    "Shape", "ShapeN", "Rank", "Size", "ZerosLike", "OnesLike", "Pack", "Unpack", "ConcatV2", "StridedSlice", "Slice", "Reshape",
    "ExpandDims", "Squeeze", "Gather", "GatherV2", "Fill", "BroadcastTo", "Tile",
))
# fmt: on
"""Operations whose rules expect the number of rows among sizes."""

_SHUFFLES = frozenset(
    {"Unique", "UniqueV2", "UniqueWithCounts", "Where", "InvertPermutation", "Bincount", "DenseBincount"}
)


def _spoilt(inputs: Sequence[TensorValue]) -> TensorValue | None:
    """The input of which least is known: a result of it is no better."""
    bad = [value for value in inputs if value.kind is TensorKind.MIXED]
    return next((value for value in bad if value.proved), bad[0] if bad else None)


def _either(values: Sequence[TensorValue]) -> TensorValue:
    spoilt = _spoilt(values)
    if spoilt:
        return spoilt
    if all(value.is_per_row and value.dims == values[0].dims for value in values):
        return values[0]
    if all(value.is_constant for value in values):
        return constant()
    return undecided("branches with different results")


def _listed(dims: Sequence[int] | None) -> list[int] | None:
    return None if dims is None else list(dims)


def _tensor(name: str) -> NodeInput:
    node, _, index = name.partition(":")
    return NodeInput(node, "", int(index) if index.isdigit() else 0)


def _pick(scope: _Scope, wanted: NodeInput) -> TensorValue:
    values = scope.values.get(wanted.node)
    if values is None:
        return undecided(f"{wanted.node} is not in the graph")
    if len(values) == 1 and values[0].kind is TensorKind.MIXED:
        return values[0]
    node = scope.decoded.get(wanted.node)
    index = wanted.index
    if node is not None and wanted.output:
        index = _flat_index(node, wanted)
    if not 0 <= index < len(values):
        return undecided(f"an output of {wanted.node} that is not known")
    return values[index]


def _flat_index(node: GraphNode, wanted: NodeInput) -> int:
    """The place of an output among all outputs; -1: unknown."""
    names = _RESULTS.get(node.op)
    if names:
        return names.index(wanted.output) if wanted.output in names else -1
    if node.op.startswith("FusedBatchNorm"):
        return 0 if wanted.output == "y" else -1
    if node.op.startswith("ParseExample"):
        sparse = node.integer("num_sparse") or node.integer("Nsparse")
        return 3 * sparse + wanted.index if wanted.output == "dense_values" else -1
    return wanted.index
