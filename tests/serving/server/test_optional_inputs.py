"""Every field of a signature is honoured: inputs with defaults, no inputs at all, element types that JSON does not have."""

from __future__ import annotations

import numpy as np
import pytest

from serving.protos import message
from serving.server.batching import BatchQueue
from serving.server.rpc.requests import predict_feeds
from serving.server.runtime.tensors import from_bfloat16, to_bfloat16
from serving.server.servable import Servable
from serving.server.serving_error import ServingError


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"inputs": [1.0, 2.0]}, {"outputs": [3.0, 5.0]}),
        ({"inputs": {"x": [1.0, 2.0]}}, {"outputs": [3.0, 5.0]}),
        ({"inputs": {"x": [1.0], "a": 3.0}}, {"outputs": [4.0]}),
        ({"inputs": {"x": [1.0], "b": [5.0]}}, {"outputs": [7.0]}),
        ({"inputs": {"x": [1.0], "a": 3.0, "b": [5.0]}}, {"outputs": [8.0]}),
        ({"instances": [1.0, 2.0]}, {"predictions": [3.0, 5.0]}),
        ({"instances": [{"x": 1.0}, {"x": 2.0}]}, {"predictions": [3.0, 5.0]}),
        ({"instances": [{"x": 1.0, "b": 2.0}]}, {"predictions": [4.0]}),
    ],
)
def test_an_input_that_a_request_leaves_out_has_its_default(server, body, answer):
    found = server.predict("defaulted", body)

    assert (found.status, found.json) == (200, answer)


def test_an_input_without_a_default_is_needed(server):
    assert server.predict("defaulted", {"inputs": {"a": 1.0}}).error == "Missing named input: x in 'inputs' object."
    found = server.predict("defaulted", {"instances": [{"x": 1.0, "b": 1.0}, {"x": 1.0}]})
    assert (found.status, "keys must be equal to" in found.error) == (400, True)


@pytest.fixture(scope="module")
def defaulted(zoo) -> Servable:
    version = Servable("defaulted", 1, zoo / "defaulted" / "1")
    yield version
    version.close()


def feeds(servable: Servable, **inputs: np.ndarray) -> tuple[BatchQueue, list]:
    request = message("PredictRequest")()
    for alias, array in inputs.items():
        tensor = request.inputs[alias]
        tensor.dtype, tensor.tensor_content = 1, np.float32(array).tobytes()
        for size in np.shape(array):
            tensor.tensor_shape.dim.add(size=size)
    queue, values, _ = predict_feeds(servable, request)
    return queue, values


def test_grpc_has_the_same_defaults(defaulted):
    queue, values = feeds(defaulted, x=[1.0, 2.0])
    assert queue.run(values)["y"][0].tolist() == [3.0, 5.0]
    queue, values = feeds(defaulted, x=[1.0, 2.0], a=3.0)
    assert queue.run(values)["y"][0].tolist() == [4.0, 7.0]
    for wrong in ({"a": 1.0}, {"x": [1.0], "c": 1.0}, {}):
        with pytest.raises(ServingError):
            feeds(defaulted, **wrong)


def test_a_signature_without_inputs_is_called_with_no_inputs(server):
    before = server.predict("counter", {"signature_name": "get_counter", "inputs": {}})
    server.predict("counter", {"signature_name": "incr_counter_by", "inputs": 2.5})
    after = server.predict("counter", {"signature_name": "get_counter", "inputs": {}})
    server.predict("counter", {"signature_name": "incr_counter_by", "inputs": -2.5})  # other tests use it too

    assert (before.status, after.status) == (200, 200)
    assert after.json["outputs"] == before.json["outputs"] + 2.5
    for body in ({"instances": [1]}, {"inputs": {"x": 1}}):
        refused = server.predict("counter", {"signature_name": "get_counter", **body})
        assert (refused.status, refused.error) == (400, "Failed to get input map for signature: get_counter")


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_floats_of_sixteen_bits_are_read_and_written(server, name):
    values = [1.5, -2.0, 0.0, 1e9, -1e-9, 3]
    with np.errstate(over="ignore"):  # 1e9 is beyond the range of float16
        exact = np.float32(np.float16(values)) if name == "float16" else from_bfloat16(to_bfloat16(np.float32(values)))

    rows = server.predict("types", {"signature_name": name, "instances": values})
    columns = server.predict("types", {"signature_name": name, "inputs": [values]})

    def read(numbers):  # six digits are written, which suffice for the type
        wide = np.float32(numbers)
        return np.float32(np.float16(wide)) if name == "float16" else from_bfloat16(to_bfloat16(wide))

    assert np.array_equal(read(rows.json["predictions"]), exact)
    assert np.array_equal(read(columns.json["outputs"]), [exact])
    assert server.predict("types", {"signature_name": name, "inputs": ["x"]}).status == 400


def test_bfloat16_is_rounded_to_the_nearest_ties_to_even():
    values = np.array([1.0, 1.00390625, 1.01171875, float("inf"), -0.0, 3.4e38, 1e-40], np.float32)

    found = from_bfloat16(to_bfloat16(values))

    assert found.tolist() == [1.0, 1.0, 1.015625, float("inf"), -0.0, float("inf"), pytest.approx(1e-40, rel=0.01)]
    assert np.isnan(from_bfloat16(to_bfloat16(np.array([np.nan], np.float32)))).all()
