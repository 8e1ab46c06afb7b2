"""The operations of a `saved_model.pb`, those that a request or the loader can reach, and the size of its constants.

A SavedModel is a program: an operation may read or write any file. So the walk covers every meta graph and every
function of every library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchard.savedmodel.signatures import decode_text, map_entry, meta_graphs
from orchard.savedmodel.types import data_type
from orchard.savedmodel.wire import WireError, fields, signed

__all__ = ["GraphOperations", "read_operations"]

_GRAPH, _SAVER, _COLLECTION, _SIGNATURE = 2, 3, 4, 5  # fields of MetaGraphDef
_RUN_BY_LOADER = {"saved_model_main_op", "legacy_init_op"}
_MAX_NODES, _MAX_EDGES = 200_000, 2_000_000
"""Of the graph and of all its functions together: a hostile file of one gigabyte could have a hundred million."""


@dataclass(frozen=True, slots=True)
class GraphOperations:
    """The operations and constants of a SavedModel.

    Attributes:
        all: every operation anywhere in it.
        reachable: those that run when a signature is called, variables are restored or the model is initialised.
        tensor_bytes: the size of its constants in memory, which may be much smaller in the file.
    """

    all: frozenset[str]
    reachable: frozenset[str]
    tensor_bytes: int


@dataclass(slots=True)
class _Node:
    op: str = ""
    inputs: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Graph:
    """A meta graph: its nodes by name, the nodes of its functions, and the nodes from which execution starts."""

    nodes: dict[str, _Node] = field(default_factory=dict)
    functions: dict[str, list[_Node]] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    ops: set[str] = field(default_factory=set)
    tensor_bytes: int = 0
    count: int = 0
    edges: int = 0

    def add(self, body: memoryview) -> tuple[str, _Node]:
        """Decode a node. Raises `WireError` if there are too many nodes, or too many inputs of all of them."""
        self.count_one()
        name, node, size = _node(body, _MAX_EDGES - self.edges)
        self.edges += len(node.inputs) + len(node.functions)
        self.ops.add(node.op)  # here, not from `nodes`: two nodes may have the same name
        self.tensor_bytes += size
        return name, node

    def count_one(self) -> None:
        """Count a node or a function."""
        self.count += 1
        if self.count > _MAX_NODES:
            raise WireError(f"the graph has more than {_MAX_NODES} nodes")


def _node_name(tensor: str) -> str:
    """The node of the input ``name:0``, ``name:output:0`` or ``^name``."""
    return tensor.removeprefix("^").split(":", 1)[0]


def _tensor_bytes(body: memoryview) -> int:
    size, count = 0, 1
    for number, _, value, inner in fields(body):
        if number == 1:
            size = data_type(value).size
        elif number == 2:
            dims = [
                signed(part)
                for kind, _, _, dim in fields(inner)
                if kind == 2
                for at, _, part, _ in fields(dim)
                if at == 1
            ]
            count = math.prod(max(dim, 0) for dim in dims)
    return size * count


def _attribute(body: memoryview, node: _Node, max_edges: int) -> int:
    """Add the functions that an attribute calls to the node; return the bytes of the tensors in it."""
    size = 0
    for number, _, _, inner in fields(body):
        if number == 8:
            size += _tensor_bytes(inner)
        elif number == 10:
            node.functions += [decode_text(name) for part, _, _, name in fields(inner) if part == 1]
        elif number == 1:
            for part, _, _, item in fields(inner):
                if part == 8:
                    size += _tensor_bytes(item)
                elif part == 9:
                    if len(node.functions) > max_edges:
                        raise WireError(f"the graph's nodes have more than {_MAX_EDGES} inputs")
                    node.functions += [decode_text(name) for at, _, _, name in fields(item) if at == 1]
    return size


def _node(body: memoryview, max_edges: int) -> tuple[str, _Node, int]:
    name, node, size = "", _Node(), 0
    for number, _, _, inner in fields(body):
        if len(node.inputs) + len(node.functions) > max_edges:
            raise WireError(f"the graph's nodes have more than {_MAX_EDGES} inputs")
        if number == 1:
            name = decode_text(inner)
        elif number == 2:
            node.op = decode_text(inner)
        elif number == 3:
            node.inputs.append(_node_name(decode_text(inner)))
        elif number == 5:
            size += sum(_attribute(value, node, max_edges) for part, _, _, value in fields(inner) if part == 2)
    return name, node, size


def _library(body: memoryview, graph: _Graph) -> None:
    for number, _, _, function in fields(body):
        if number != 1:
            continue
        graph.count_one()
        name, nodes = "", []
        for part, _, _, inner in fields(function):
            if part == 1:
                name = next((decode_text(text) for at, _, _, text in fields(inner) if at == 1), "")
            elif part == 3:
                nodes.append(graph.add(inner)[1])
        graph.functions.setdefault(name, []).extend(nodes)


def _graph_def(body: memoryview, graph: _Graph) -> None:
    for number, _, _, inner in fields(body):
        if number == 1:
            name, node = graph.add(inner)
            graph.nodes[name] = node
        elif number == 2:
            _library(inner, graph)


def _tensor_names(info: memoryview) -> Iterator[str]:
    """The tensors of a TensorInfo: one, the three of a sparse one, or those of its components."""
    for part, _, _, inner in fields(info):
        if part == 1:
            yield decode_text(inner)
        elif part == 4:
            yield from (decode_text(name) for at, _, _, name in fields(inner) if at in (1, 2, 3))
        elif part == 5:  # its components have no components, see TensorInfo.CompositeTensor
            components = [component for at, _, _, component in fields(inner) if at == 2]
            yield from (decode_text(name) for body in components for at, _, _, name in fields(body) if at == 1)


def _signature_roots(body: memoryview) -> Iterator[str]:
    """The nodes of a signature's outputs; "" for an output without a name, which might be any node."""
    for number, _, _, entry in fields(body):
        if number == 2:
            yield from [_node_name(name) for name in _tensor_names(map_entry(entry)[1])] or [""]


def _roots(number: int, body: memoryview) -> Iterable[str]:
    if number == _SAVER:
        return [_node_name(decode_text(inner)) for part, _, _, inner in fields(body) if part == 3]
    if number == _COLLECTION:
        key, value = map_entry(body)
        lists = (inner for part, _, _, inner in fields(value) if part == 1) if key in _RUN_BY_LOADER else ()
        return [_node_name(decode_text(name)) for nodes in lists for part, _, _, name in fields(nodes) if part == 1]
    return _signature_roots(map_entry(body)[1]) if number == _SIGNATURE else ()


def _read_graph(meta_graph: memoryview) -> _Graph:
    graph = _Graph()
    for number, _, _, inner in fields(meta_graph):
        if number == _GRAPH:
            _graph_def(inner, graph)
        else:
            graph.roots.update(_roots(number, inner))
            if len(graph.roots) > _MAX_NODES:
                raise WireError(f"the graph has more than {_MAX_NODES} outputs")
    return graph


def _reachable(graph: _Graph) -> set[str]:
    if "" in graph.roots:
        return graph.ops
    waiting: list[_Node] = [graph.nodes[name] for name in graph.roots if name in graph.nodes]
    seen: set[int] = set()
    called: set[str] = set()
    ops: set[str] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        ops.add(node.op)
        waiting += [graph.nodes[name] for name in node.inputs if name in graph.nodes]
        for name in {*node.functions, node.op} - called:  # TensorFlow 1 calls a function by an operation of its name
            called.add(name)
            waiting += graph.functions.get(name, [])  # all nodes of a function count as reached
    return ops


def read_operations(document: memoryview | bytes) -> GraphOperations:
    """Return the operations of a SavedModel. Raises `WireError` if it is malformed."""
    graphs = [_read_graph(meta_graph) for meta_graph in meta_graphs(document)]
    if not graphs:
        raise WireError("it holds no graph")
    return GraphOperations(
        all=frozenset(op for graph in graphs for op in graph.ops),
        reachable=frozenset(op for graph in graphs for op in _reachable(graph)),
        tensor_bytes=sum(graph.tensor_bytes for graph in graphs),
    )
