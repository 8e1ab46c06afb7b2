"""The Open Inference Protocol: the public client made from its specification, and requests by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError
from open_inference.openapi.types import InferenceRequest

from serving.models_config import ModelConfig, render
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import HttpAnswer, Serve, until

PHOTO = b"\xff\xd8\xff not text \x00"


@pytest.fixture(scope="module")
def public_client(server: Serve) -> Iterator[OpenInferenceClient]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield OpenInferenceClient(base_url=f"http://127.0.0.1:{server.port}", httpx_client=client)


def tensor(name: str, datatype: str, shape: list[int], data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


def infer(server: Serve, model: str, *inputs: dict[str, Any], headers: Any = None, **more: Any) -> HttpAnswer:
    body = json.dumps({"inputs": list(inputs), **more})
    return server.send_request("POST", f"/v2/models/{model}/infer", body, headers)


def echo_type(server: Serve, name: str, item: dict[str, Any]) -> HttpAnswer:
    """Have a signature whose output is its input answer."""
    return infer(server, "types", item, parameters={"signature_name": name})


# the public client


def test_the_public_client_reads_health_and_metadata(public_client):
    public_client.check_server_liveness()
    until(lambda: public_client.check_server_readiness() is None, "every model is ready")
    public_client.check_model_readiness("half_plus_two")
    public_client.check_model_version_readiness("half_plus_two", "123")
    about = public_client.read_server_metadata()
    model = public_client.read_model_metadata("half_plus_two")
    version = public_client.read_model_version_metadata("matrix", "1")

    assert (about.name, about.extensions) == ("orchard", [])
    assert (model.name, model.versions, model.platform) == ("half_plus_two", ["123", "124"], "tensorflow_savedmodel")
    assert [(x.name, x.datatype, x.shape) for x in version.inputs] == [("x", "FP32", [-1, 4])]
    assert [(x.name, x.datatype, x.shape) for x in version.outputs] == [("y", "FP32", [-1, 2])]


def test_the_public_client_predicts(public_client):
    request = InferenceRequest.parse_obj(
        {"id": "42", "inputs": [tensor("x", "FP32", [2, 4], [1, 2, 3, 4, 0.5, 0, 0, 0])], "outputs": [{"name": "y"}]}
    )

    found = public_client.model_infer("matrix", request=request)
    exact = public_client.model_version_infer("matrix", "1", request=request)

    assert (found.model_name, found.model_version, found.id) == ("matrix", "1", "42")
    (output,) = found.outputs
    assert (output.name, output.datatype, output.shape) == ("y", "FP32", [2, 2])
    assert json.loads(output.data.json()) == [7.0, 10.0, 0.5, 0.0]
    assert exact == found


def test_the_public_client_gets_the_protocols_errors(public_client):
    request = InferenceRequest.parse_obj({"inputs": [tensor("x", "FP64", [1], [1])], "outputs": []})

    with pytest.raises(BadRequestError) as refused:
        public_client.model_infer("half_plus_two", request=request)
    assert refused.value.body["error"] == "datatype of input x must be FP32"
    with pytest.raises(NotFoundError):
        public_client.check_model_readiness("no_such")


# tensors


@pytest.mark.parametrize(
    ("signature", "datatype", "data", "answer"),
    [
        ("float32", "FP32", [1, -2.5, 1e40, 0.1], [1.0, -2.5, None, 0.1]),
        ("float64", "FP64", [1e300, 0.1], [1e300, 0.1]),
        ("float16", "FP16", [1, 0.5], [1.0, 0.5]),
        ("bfloat16", "BF16", [1, 0.5], [1.0, 0.5]),
        ("int8", "INT8", [-128, 127], [-128, 127]),
        ("int16", "INT16", [-32768, 1], [-32768, 1]),
        ("int32", "INT32", [-(2**31)], [-(2**31)]),
        ("int64", "INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("uint8", "UINT8", [255], [255]),
        ("uint32", "UINT32", [2**32 - 1], [2**32 - 1]),
        ("uint64", "UINT64", [2**64 - 1], [2**64 - 1]),
        ("bool", "BOOL", [True, False], [True, False]),
        ("string", "BYTES", ["pear", "Ä\n", ""], ["pear", "Ä\n", ""]),
    ],
)
def test_every_datatype_is_read_and_written(server, signature, datatype, data, answer):
    found = echo_type(server, signature, tensor("x", datatype, [len(data)], data))

    assert (found.status, found.json["outputs"]) == (200, [tensor("y", datatype, [len(data)], answer)])


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2, 2], [1, 2, 3, 4]), ([2, 2], [[1, 2], [3, 4]]), ([], [1]), ([0], []), ([2, 0], [[], []]), ([1, 1, 1], [5])],
)
def test_data_is_flat_or_nested_as_its_shape(server, shape, data):
    (output,) = echo_type(server, "int32", tensor("x", "INT32", shape, data)).json["outputs"]

    flat = [item for row in data for item in (row if isinstance(row, list) else [row])]
    assert (output["shape"], output["data"]) == (shape, flat)


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (tensor("x", "INT8", [1], [128]), "data of input x has values beyond the range of INT8"),
        (tensor("x", "INT32", [1], [128]), "datatype of input x must be INT8"),
        (tensor("x", "INT8", [3], [1, 2]), "data of input x has the shape [2], which is not [3]"),
        (tensor("x", "INT8", [2, 1], [[1, 2]]), "data of input x has the shape [1,2], which is not [2,1]"),
        (tensor("x", "INT8", [1], ["1"]), "data of input x: JSON Value: \"1\" Type: String is not of expected type: int8"),
        (tensor("x", "INT8", [-1], [1]), "shape of input x must have whole numbers from 0"),
        (tensor("x", "INT8", [True], [1]), "shape of input x must have whole numbers from 0"),
        ({"name": "x", "datatype": "INT8", "shape": [1]}, "data of input x must be a JSON array"),
        (tensor("z", "INT8", [1], [1]), "The input z is unknown; the signature has x"),
        ({"datatype": "INT8"}, "The name of an input must be a string"),
        (tensor("x", "INT8", [1], [1], parameters=1), "parameters of input x must be a JSON object"),
        (tensor("x", "INT8", [1], [1], parameters={"shared_memory_region": "a"}),
         "The parameter shared_memory_region of input x is not supported"),
    ],
)  # fmt: skip
def test_an_invalid_input_is_named(server, item, error):
    found = echo_type(server, "int8", item)

    assert (found.status, found.error) == (400, error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "inputs must be a JSON array"),
        ({"inputs": []}, "The input x is missing"),
        ({"inputs": [tensor("x", "FP32", [1], [1])] * 2}, "The input x is there twice"),
        ({"inputs": [tensor("x", "FP32", [1], [1])], "outputs": [{"name": "z"}]}, "No such output: z; the signature has y"),
        ({"inputs": [], "id": 1}, "id must be a string"),
        ({"inputs": [], "parameters": {"signature_name": "no"}}, 'Serving signature name: "no" not found in signature def'),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused(server, body, error):
    found = server.send_request("POST", "/v2/models/half_plus_two/infer", body)

    assert (found.status, found.error) == (400, error)


@pytest.mark.parametrize("where", ["input", "request"])
def test_bytes_that_are_no_text_travel_as_base64(server, where):
    item = tensor("image_bytes", "BYTES", [1], [base64.b64encode(PHOTO).decode()])
    parameters = {"signature_name": "bytes"}
    (item.setdefault("parameters", {}) if where == "input" else parameters)["content_type"] = "base64"

    found = infer(server, "shapes", item, parameters=parameters).json["outputs"]

    assert [output["name"] for output in found] == ["out_bytes", "text"]
    for output in found:
        assert output["parameters"] == {"content_type": "base64"}
        assert base64.b64decode(output["data"][0]) == PHOTO


def test_text_is_base64_only_where_it_is_asked_for(server):
    outputs = [{"name": "text", "parameters": {"content_type": "base64"}}, {"name": "out_bytes"}]
    item = tensor("image_bytes", "BYTES", [1], ["plum"])

    found = infer(server, "shapes", item, outputs=outputs, parameters={"signature_name": "bytes"}).json["outputs"]

    assert [(output["name"], output["data"]) for output in found] == [("text", ["cGx1bQ=="]), ("out_bytes", ["plum"])]


def test_a_large_body_and_its_answer_are_read_and_printed_by_the_json_process(server):
    numbers = [number / 8 for number in range(100_000)]

    found = echo_type(server, "float32", tensor("x", "FP32", [1000, 100], numbers))
    refused = echo_type(server, "float32", tensor("x", "FP32", [7], numbers))

    assert (found.json["outputs"][0]["shape"], found.json["outputs"][0]["data"]) == ([1000, 100], numbers)
    assert (refused.status, refused.error) == (400, "data of input x has the shape [100000], which is not [7]")


# what TF Serving's API has too


@pytest.mark.parametrize(("channel", "value", "version"), [("Version_Label", 2.5, "123"), ("stable", 3.5, "124")])
def test_the_channel_header_is_honoured(server, channel, value, version):
    headers = {"x-orchard-channel": channel}

    found = infer(server, "half_plus_two", tensor("x", "FP32", [1], [1]), headers=headers).json

    assert (found["model_version"], found["outputs"][0]["data"]) == (version, [value])
    unknown = infer(server, "half_plus_two", tensor("x", "FP32", [1], [1]), headers={"x-orchard-channel": "no"})
    assert unknown.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v2/models/half_plus_two/infer", 400, "this path takes POST"),
        ("POST", "/v2/models/half_plus_two", 400, "this path takes GET"),
        ("GET", "/v2/models", 404, "No such path: /v2/models"),
        ("GET", "/v2/models/half_plus_two/versions/9", 404, "Servable not found"),
        ("GET", "/v2/models/half_plus_two/versions/9/ready", 404, "Could not find version 9 of model half_plus_two"),
        ("GET", "/v2/models/half_plus_two/versions/v1/ready", 404, "Could not find version v1"),
        ("GET", "/v2/models/no_such/ready", 404, "Could not find any versions of model no_such"),
        ("POST", "/v2/models/no_such/infer", 404, "Servable not found for request: Latest(no_such)"),
        ("GET", "/v2/models/counter", 400, 'Serving signature name: "serving_default" not found'),
    ],
)
def test_errors_have_the_right_status(server, method, path, status, error):
    found = server.send_request(method, path, {"inputs": []} if method == "POST" else None)

    assert (found.status, error in found.error) == (status, True), found.error


@pytest.mark.parametrize(
    ("headers", "status"), [({"Inference-Header-Content-Length": "10"}, 400), ({"Content-Type": "image/jpeg"}, 415)]
)
def test_binary_bodies_are_refused_with_what_to_send(server, headers, status):
    found = server.send_request("POST", "/v2/models/half_plus_two/infer", b"{}", headers)

    assert (found.status, "/v1/models/NAME:predict" in found.error) == (status, True)
    item = tensor("x", "FP32", [1], [1], parameters={"binary_data_size": 4})
    assert "binary tensor data extension" in infer(server, "half_plus_two", item).error


def test_tokens_limits_and_origins_are_those_of_v1(zoo, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(render([ModelConfig("half", str(zoo / "half_plus_two"))]))
    (tmp_path / "tokens").write_text("secret-token-of-a-test\n")
    options = ("--token-file", str(tmp_path / "tokens"), "--max-body", "1", "--cors-origin", "https://shop.example")
    with Serve(config, tmp_path / "log", ENVIRONMENT, *options) as served:
        path, headers = "/v2/models/half/infer", {"Authorization": "Bearer secret-token-of-a-test"}
        for closed in ("/v2", "/v2/health/ready", "/openapi.json"):
            assert served.get(closed).status == 401
            assert served.send_request("GET", closed, None, headers).status == 200
        body = {"inputs": [tensor("x", "FP32", [1], [1])]}
        found = served.send_request("POST", path, body, {**headers, "Origin": "https://shop.example"})
        assert (found.status, found.headers["access-control-allow-origin"]) == (200, "https://shop.example")
        assert served.send_request("POST", path, b"x" * ((1 << 20) + 1), headers).status == 413
        until(lambda: path in served.text, "the request is in the access log")
