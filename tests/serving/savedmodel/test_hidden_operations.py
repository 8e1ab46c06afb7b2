"""No way of writing a graph hides an operation or its outputs from the check, or exhausts its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchard.savedmodel import graph as graph_module
from orchard.savedmodel.graph import read_operations
from orchard.savedmodel.signatures import signatures_of
from orchard.savedmodel.wire import WireError, delimited

SERVE = delimited(1, delimited(4, b"serve"))
SAVE = delimited(1, delimited(1, b"leak") + delimited(2, b"SaveV2"))


def node(name: bytes, op: bytes, *inputs: bytes) -> bytes:
    return delimited(1, name) + delimited(2, op) + b"".join(delimited(3, one) for one in inputs)


def saved(signature: bytes, *graphs: bytes) -> bytes:
    entry = delimited(1, b"serving_default") + signature
    return delimited(2, SERVE + b"".join(delimited(2, one) for one in graphs) + delimited(5, entry))


def output(info: bytes) -> bytes:
    return delimited(2, delimited(1, b"y") + delimited(2, info))


@pytest.mark.parametrize(
    "signature",
    [
        delimited(2, output(delimited(1, b"leak:0"))) + delimited(2, delimited(3, b"predict")),  # merged, not replaced
        delimited(2, output(delimited(1, b"leak:0")) + output(delimited(1, b"safe:0"))),  # the same alias twice
        delimited(2, delimited(2, delimited(1, b"y") + delimited(2, delimited(1, b"leak:0")) + delimited(2, delimited(2, b"")))),
        delimited(2, output(delimited(4, delimited(3, b"leak:0")))),  # a sparse output
        delimited(2, output(delimited(5, delimited(2, delimited(1, b"safe:0")) + delimited(2, delimited(1, b"leak:0"))))),
    ],
)  # fmt: skip
def test_every_output_is_found(signature):
    body = saved(signature, SAVE, delimited(1, node(b"safe", b"Const")))

    assert "SaveV2" in read_operations(body).reachable


def test_a_sparse_output_does_not_make_everything_reachable():
    sparse = output(delimited(4, delimited(1, b"safe:0") + delimited(2, b"safe:1") + delimited(3, b"safe:2")))

    assert read_operations(saved(delimited(2, sparse), SAVE, delimited(1, node(b"safe", b"Const")))).reachable == {
        "Const"
    }


def test_the_value_of_a_map_entry_given_twice_is_merged_as_protobuf_merges_it():
    first = delimited(2, delimited(1, delimited(1, b"x") + delimited(2, delimited(1, b"x:0"))))
    signature = signatures_of(saved(first + delimited(2, output(delimited(1, b"y:0")))))["serving_default"]

    assert (list(signature.inputs), list(signature.outputs)) == (["x"], ["y"])


def test_nodes_of_functions_and_inputs_of_nodes_are_counted(monkeypatch):
    monkeypatch.setattr(graph_module, "_MAX_NODES", 10)
    monkeypatch.setattr(graph_module, "_MAX_EDGES", 20)
    signature = delimited(2, output(delimited(1, b"a:0")))
    function = delimited(1, delimited(1, b"f"))
    many = b"".join(delimited(3, node(str(number).encode(), b"Const")) for number in range(11))

    read_operations(saved(signature, delimited(1, node(b"a", b"Const"))))
    for graph in (
        delimited(2, delimited(1, function + many)),
        delimited(2, delimited(1, function) * 11),
        delimited(1, node(b"a", b"AddN", *[b"b"] * 22)),
    ):
        with pytest.raises(WireError, match="more than"):
            read_operations(saved(signature, graph))


CHECK = """
import resource, sys
from orchard.savedmodel.graph import read_operations
from orchard.savedmodel.wire import WireError, delimited
resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, 256 << 20))
body = delimited(3, b"") * (8 << 20)
try:
    read_operations(delimited(2, delimited(2, delimited(2, delimited(1, body)))))
except WireError as error:
    print(error)
"""


def test_a_function_of_millions_of_nodes_does_not_exhaust_the_memory():
    ended = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False
    )

    assert "more than 200000 nodes" in ended.stdout, ended.stderr
