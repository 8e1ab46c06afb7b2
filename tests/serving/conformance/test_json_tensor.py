"""The way from JSON to tensors, against the rules of TF Serving's `tensorflow_serving/util/json_tensor.cc`.

The rules are stated here once more, element by element and as plainly as there: `GetDenseTensorShape`, `FillTensorProto`,
`AddValueToTensor`, `AddInstanceItem`, `FillTensorMapFromInstancesList` and `FillTensorMapFromInputsMap`. Our code
converts a level at a time; hypothesis looks for a value on which the two differ in a tensor or in a letter of an error.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.savedmodel.signatures import TensorInfo
from orchard.savedmodel.types import DataType, all_types
from serving.server.rest.predict import read_inputs
from serving.server.rest.pretty import quote, type_name
from serving.server.serving_error import ServingError

TYPES = {dtype.name: dtype for dtype in all_types()}
LIMITS = {
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint8": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}


class Problem(Exception):
    """An error of the rules: its code and its text."""

    def __init__(self, text: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(text)
        self.code = code


def is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def dense_shape(value: Any) -> list[int]:
    if not isinstance(value, list):
        return []
    return [len(value), *(dense_shape(value[0]) if value else [])]


def element(value: Any, dtype: DataType) -> Any:
    wrong = Problem(f"JSON Value: {quote(value)} Type: {type_name(value)} is not of expected type: {dtype.name}")
    if isinstance(value, dict):
        if dtype.name != "string":
            raise wrong
        if not is_bytes(value):
            raise Problem(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
        try:
            return base64.b64decode(value["b64"], validate=True)
        except ValueError:
            raise Problem("Unable to base64 decode") from None
    kind = type(value)
    if dtype.name in ("float", "double"):
        fits = kind in (int, float)
    elif dtype.name == "string":
        fits = kind is str
    elif dtype.name == "bool":
        fits = kind is bool
    elif dtype.name in LIMITS:
        low, high = LIMITS[dtype.name]
        fits = kind is int and low <= value <= high
    else:
        raise Problem(f"Conversion of JSON Value: {quote(value)} to type: {dtype.name}", "UNIMPLEMENTED")
    if not fits:
        raise wrong
    return value.encode() if kind is str else value


def fill(value: Any, level: int, shape: list[int], dtype: DataType, out: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise Problem(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM."
                f" Expected at level: {len(shape)}"
            )
        out.append(element(value, dtype))
        return
    if level >= len(shape):
        raise Problem(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise Problem(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        fill(item, level + 1, shape, dtype, out)


class Instances:
    """Rows of one or more inputs."""

    def __init__(self, inputs: dict[str, DataType]) -> None:
        self.inputs = inputs
        self.sizes: dict[str, int] = {}
        self.shapes: dict[str, list[int]] = {}
        self.values: dict[str, list[Any]] = {}

    def add(self, value: Any, name: str) -> None:
        if name not in self.inputs:
            raise Problem(f"JSON object: does not have named input: {name}")
        shape, out = dense_shape(value), []
        fill(value, 0, shape, self.inputs[name], out)
        self.values.setdefault(name, []).extend(out)
        if name not in self.sizes:
            self.sizes[name], self.shapes[name] = len(out), shape
        elif self.sizes[name] != len(out):
            raise Problem(f"Expecting tensor size: {self.sizes[name]} but got: {len(out)}")
        elif self.shapes[name] != shape:
            expected, got = (f"[{','.join(map(str, dims))}]" for dims in (self.shapes[name], shape))
            raise Problem(f"Expecting shape {expected} but got: {got}")

    def rows(self, instances: list[Any]) -> dict[str, np.ndarray]:
        if not isinstance(instances[0], dict) and len(self.inputs) > 1:
            raise Problem(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
                " tensorinfo_map"
            )
        objects = isinstance(instances[0], dict) and not is_bytes(instances[0])
        for count, row in enumerate(instances):
            self.row(row, count, objects=objects)
        if len(self.values) != len(self.inputs):  # found later, by predict_util.cc
            return {}
        return {
            name: array(values, [len(instances), *self.shapes[name]], self.inputs[name])
            for name, values in self.values.items()
        }

    def row(self, row: Any, count: int, *, objects: bool) -> None:
        if objects != (isinstance(row, dict) and not is_bytes(row)):
            expected, got = ("object", "list") if objects else ("value/list", "object")
            raise Problem(f"Expecting {expected} but got {got} at item {count} of input list")
        for name, value in row.items() if objects else [(min(self.inputs), row)]:
            try:
                self.add(value, name)
            except Problem as problem:
                key = f" key: {name}" if objects else ""
                raise Problem(
                    f"Failed to process element: {count}{key} of 'instances' list. Error: {problem.code}: {problem}"
                ) from None
        if objects and set(row) != set(self.inputs):
            raise Problem(
                f"Failed to process element: {count} of 'instances' list. JSON object: {quote(row)}"
                f" keys must be equal to: {','.join(sorted(self.inputs))}"
            )


def columns(value: Any, inputs: dict[str, DataType]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_bytes(value):
        if len(inputs) > 1:
            raise Problem(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        value = {min(inputs): value}
    found = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise Problem(f"Missing named input: {name} in 'inputs' object.")
        shape, out = dense_shape(value[name]), []
        fill(value[name], 0, shape, dtype, out)
        found[name] = array(out, shape, dtype)
    return found


def array(values: list[Any], shape: list[int], dtype: DataType) -> np.ndarray:
    if dtype.name == "string":
        found = np.empty(len(values), object)
        found[:] = values
        return found.reshape(shape)
    with np.errstate(over="ignore"):
        if dtype.name in ("float", "double"):
            return np.array([float(x) for x in values], np.float64).astype(dtype.numpy).reshape(shape)
        wide = np.uint64 if dtype.name == "uint64" else np.int64
        return np.array(values, wide).astype(dtype.numpy).reshape(shape)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 255, (1 << 31) - 1, 1 << 31, -(1 << 31) - 1, 1 << 32, 1 << 63, (1 << 64) - 1]),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.sampled_from([{"b64": "aGk="}, {"b64": "!"}, {"b64": 1}, {"b64": "aGk=", "x": 1}, {}, {"a": 1}, {"a": [1, 2]}]),
)
ALIKE = st.one_of(st.integers(0, 3), st.floats(-2, 2), st.booleans(), st.sampled_from(["x", "yz"]))
VALUES = st.one_of(
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    st.recursive(st.integers(0, 3), lambda inner: st.lists(inner, min_size=1, max_size=2), max_leaves=8),
    st.lists(st.lists(ALIKE, min_size=2, max_size=2), min_size=1, max_size=3),
)
NUMBERS = ["float", "double", "int32", "uint8", "int64", "uint32", "uint64", "bool", "string", "complex64"]
INPUTS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([TYPES[name] for name in NUMBERS]), min_size=1)


def tensors(document: dict[str, Any], inputs: dict[str, DataType]) -> dict[str, np.ndarray]:
    return read_inputs(document, {name: TensorInfo("", inputs[name], ()) for name in sorted(inputs)}).tensors


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (Problem, ServingError) as error:
        return error


def check(document: dict[str, Any], inputs: dict[str, DataType], expected: Any) -> None:
    wanted, found = outcome(expected), outcome(lambda: tensors(document, inputs))
    if isinstance(found, ServingError):
        if wanted == {}:  # a row of bytes for several inputs: predict_util.cc misses the others
            assert found.message.startswith("input size does not match signature: 1!=2 len({a}) != len({a,b}).")
        else:
            assert isinstance(wanted, Problem), found
            assert (found.message, found.code.name) == (str(wanted), wanted.code)
        return
    assert not isinstance(wanted, Problem), wanted
    assert sorted(found) == sorted(wanted)
    for name, tensor in found.items():
        assert tensor.shape == wanted[name].shape
        assert tensor.tolist() == wanted[name].tolist()


@settings(max_examples=400, deadline=None)
@given(inputs=INPUTS, value=st.one_of(VALUES, st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)))
def test_inputs_become_the_tensors_of_json_tensor_cc(inputs, value):
    check({"inputs": value}, inputs, lambda: columns(value, dict(sorted(inputs.items()))))


ROWS = st.one_of(
    st.lists(VALUES, min_size=1, max_size=3),
    st.lists(ALIKE, min_size=1, max_size=4),
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=2), min_size=1, max_size=3),
    st.lists(st.fixed_dictionaries({"a": ALIKE, "b": ALIKE}), min_size=1, max_size=3),
)


@settings(max_examples=400, deadline=None)
@given(inputs=INPUTS, instances=ROWS)
def test_instances_become_the_tensors_of_json_tensor_cc(inputs, instances):
    check({"instances": instances}, inputs, lambda: Instances(inputs).rows(instances))


@pytest.mark.parametrize("name", NUMBERS)
def test_every_leaf_is_taken_or_refused_for_every_type(name):
    for value in (
        None,
        True,
        0,
        -1,
        256,
        1 << 31,
        1 << 32,
        1 << 63,
        1.0,
        1e39,
        "",
        "é",
        {"b64": "aGk="},
        {"b64": "!"},
        {},
    ):
        check({"inputs": [value]}, {"a": TYPES[name]}, lambda v=value: columns([v], {"a": TYPES[name]}))
        check({"instances": [value]}, {"a": TYPES[name]}, lambda v=value: Instances({"a": TYPES[name]}).rows([v]))
