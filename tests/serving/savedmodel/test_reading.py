"""SavedModels read without TensorFlow: the wire format, signatures, operations, and any bytes at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.savedmodel.graph import read_operations
from orchard.savedmodel.operations import ALLOWED, SAVER_ONLY, check_names
from orchard.savedmodel.signatures import read_signatures
from orchard.savedmodel.wire import LENGTH, VARINT, WireError, delimited, fields, key, signed, varint


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_a_number_is_written_and_read_back(value):
    ((number, kind, read, _),) = fields(key(7, VARINT) + varint(value))

    assert (number, kind) == (7, VARINT)
    assert value in (read, signed(read))


@given(st.lists(st.tuples(st.integers(1, 1 << 28), st.binary(max_size=300))))
def test_fields_are_written_and_read_back(parts):
    body = b"".join(delimited(number, value) for number, value in parts)

    assert [(number, kind, bytes(value)) for number, kind, _, value in fields(body)] == [
        (number, LENGTH, value) for number, value in parts
    ]


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(body):
    for read in (lambda: list(fields(body)), lambda: read_operations(body)):
        try:
            read()
        except WireError:
            continue


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_a_damaged_graph_is_read_or_refused(zoo_graph, at, damage):
    body = bytearray(zoo_graph)
    body[at % len(body) : at % len(body) + len(damage)] = damage
    try:
        read_operations(bytes(body))
    except WireError:
        return


@pytest.fixture(scope="module")
def zoo_graph(zoo: Path) -> bytes:
    return (zoo / "photos" / "one" / "saved_model.pb").read_bytes()


def graph(zoo: Path, name: str):
    return read_operations((zoo / name / "saved_model.pb").read_bytes())


def test_the_operations_are_those_that_tensorflow_counts(zoo):
    for name in ("one", "two"):
        assert graph(zoo, f"photos/{name}").all == set(
            json.loads((zoo / f"photos/{name}.facts.json").read_text())["ops"]
        )


def test_an_operation_is_found_wherever_it_hides(zoo):
    assert "ReadFile" in graph(zoo, "photos/reads").all  # in a function that nothing calls
    assert "ReadFile" not in graph(zoo, "photos/reads").reachable
    assert "SaveV2" in graph(zoo, "photos/saves").reachable  # behind a control edge of an output
    for name in ("half_plus_two/123", "module/1"):  # savers, which no signature reaches
        found = graph(zoo, name)
        assert "SaveV2" in found.all - found.reachable
        assert "RestoreV2" in found.reachable


def test_what_constants_unfold_to_is_counted(zoo):
    assert graph(zoo, "photos/bomb").tensor_bytes > 1 << 34
    assert graph(zoo, "photos/one").tensor_bytes < 10_000


def test_exported_models_and_plain_ones_pass_the_list(zoo):
    for name in ("photos/one", "half_plus_two/123", "matrix/1", "shapes/1", "slow/1", "module/1"):
        check_names(graph(zoo, name).all, name)
    assert not ALLOWED & SAVER_ONLY
    dangerous = {
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "PyFunc",
        "EagerPyFunc",
        "PrintV2",
        "Save",
        "DebugIdentityV3",
    }
    assert not dangerous & (ALLOWED | SAVER_ONLY)


def test_signatures_are_those_that_tensorflow_wrote(zoo):
    found = read_signatures(zoo / "half_plus_two" / "123")

    assert sorted(found) == ["classify_x_to_y", "regress_x_to_y", "regress_x_to_y2", "serving_default"]
    x = found["serving_default"].inputs["x"]
    assert (x.name, x.dtype.name, [dim.size for dim in x.shape or ()]) == ("x:0", "float", [-1, 1])
    assert read_signatures(zoo / "types" / "1")["string"].inputs["x"].shape is None
    assert found["classify_x_to_y"].method_name == "tensorflow/serving/classify"


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(WireError, match="serve"):
        read_signatures(tmp_path)


CHECK = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from orchard.errors import IntegrityError
from orchard.savedmodel.rules import check_files
resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, 256 << 20))
manifest = SimpleNamespace(version=1, model="m", ops=["Const"], signatures={}, classes=[])
try:
    check_files(Path(sys.argv[1]), manifest)
except (FileNotFoundError, IntegrityError) as error:
    print(error)
"""


def test_a_graph_that_is_larger_than_the_memory_is_checked(tmp_path):
    size = 900 << 20  # a hole in the file: it takes no room on the disk

    head = key(1, VARINT) + varint(1) + key(4, LENGTH) + varint(size)  # a tensor: its type, its bytes
    for number, before in (
        (8, b""),  # in an attribute's value
        (2, b""),
        (5, delimited(1, b"value")),  # in a node's attributes
        (1, delimited(1, b"weights") + delimited(2, b"Const")),  # in a graph
        (2, b""),
        (2, delimited(1, delimited(4, b"serve"))),  # in a SavedModel
    ):
        head = key(number, LENGTH) + varint(len(before) + len(head) + size) + before + head
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)

    ended = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )

    assert "golden.json" in ended.stdout, ended.stderr  # everything before the golden photos was right
