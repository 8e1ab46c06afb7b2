"""TF Serving's gRPC API: the messages are the public ones, the answers and codes are TF Serving's."""

from __future__ import annotations

import ast
import importlib
import os
import signal
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from orchard.savedmodel.types import data_type
from serving.protos import POOL, message
from serving.server.runtime.tensor_protos import from_proto, to_proto
from serving.server.serving_error import ServingError
from tests.serving.grpc_client import GrpcTestClient, dial
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until

SAME_BYTES = {"examples", "context"}
"""Fields that are messages in the public package and bytes here: they are forwarded unparsed."""

PLACES = {
    f"tensorflow.serving.{name}": f"tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy{inner}"
    for name, inner in (
        ("ServableVersionPolicy", ""),
        ("Latest", ".Latest"),
        ("All", ".All"),
        ("Specific", ".Specific"),
    )
}


def public_pool() -> DescriptorPool:
    """The descriptors of tensorflow-serving-api, read from its sources: importing them would import TensorFlow."""
    site = Path(grpc.__file__).parents[1]
    pool, waiting, added = DescriptorPool(), {}, set()
    for path in (*site.glob("tensorflow_serving/**/*_pb2.py"), *site.glob("tensorflow/**/*_pb2.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "AddSerializedFile":
                file = FileDescriptorProto.FromString(node.args[0].value)
                waiting[file.name] = file

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        file = waiting.get(name)
        if file is None:  # protobuf's own
            pool.AddSerializedFile(
                importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2").DESCRIPTOR.serialized_pb
            )
            return
        for dependency in file.dependency:
            add(dependency)
        pool.Add(file)

    for name in list(waiting):
        if name.startswith("tensorflow_serving/apis/"):
            add(name)
    return pool


def shape(field) -> tuple:
    held = field.containing_oneof and field.containing_oneof.name
    return field.name, field.type, field.is_repeated, held


def test_the_messages_are_those_of_the_public_package():
    public, seen, waiting = public_pool(), set(), [POOL.FindMessageTypeByName("tensorflow.serving.SignatureDefMap")]
    for service in ("PredictionService", "ModelService"):
        for method in POOL.FindServiceByName(f"tensorflow.serving.{service}").methods:
            other = public.FindServiceByName(f"tensorflow.serving.{service}").methods_by_name[method.name]
            assert method.input_type.full_name == other.input_type.full_name
            assert method.output_type.full_name == other.output_type.full_name
            waiting += [method.input_type, method.output_type]
    while waiting:
        ours = waiting.pop()
        if ours.full_name in seen or ours.full_name.startswith("google."):
            continue
        seen.add(ours.full_name)
        theirs = public.FindMessageTypeByName(PLACES.get(ours.full_name, ours.full_name)).fields_by_number
        for number, field in ours.fields_by_number.items():
            if field.name in SAME_BYTES:
                assert theirs[number].name == field.name
                continue
            assert shape(field) == shape(theirs[number]), ours.full_name
            if field.enum_type:
                known = {value.name: value.number for value in theirs[number].enum_type.values}
                assert {value.name: value.number for value in field.enum_type.values}.items() <= known.items()
            if field.message_type:
                waiting.append(field.message_type)
    assert len(seen) > 30


@pytest.fixture(scope="module")
def rpc(plain_config, tmp_path_factory):
    """A server of all plain models with gRPC, and a channel to it."""
    log = tmp_path_factory.mktemp("rpc") / "log"
    with Serve(plain_config, log, ENVIRONMENT, "--grpc-port", "0") as running, dial(running) as channel:
        yield GrpcTestClient(channel)


FLOATS = np.array([1.0, 2.0], np.float32)


def test_predict_answers_as_rest_does(rpc):
    answer = rpc.predict("half_plus_two", {"x": FLOATS}, version=123)

    assert from_proto(answer.outputs["y"]).tolist() == [2.5, 3.0]
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half_plus_two", 123)
    assert answer.model_spec.signature_name == "serving_default"
    words = np.array([b"x", b"\xff\0y"], object)
    both = rpc.predict("shapes", {"a": FLOATS, "b": words}, outputs=["b"])
    assert from_proto(both.outputs["b"]).tolist() == words.tolist()
    assert list(both.outputs) == ["b"]
    half = np.array([[1.5], [2.5]], np.float16)
    assert from_proto(rpc.predict("types", {"x": half}, signature="float16").outputs["y"]).tolist() == half.tolist()


@pytest.mark.parametrize(
    ("model", "inputs", "more", "code", "text"),
    [
        ("foo", {"x": FLOATS}, {}, "NOT_FOUND", "Servable not found for request: Latest(foo)"),
        ("", {"x": FLOATS}, {}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("half_plus_two", {"x": FLOATS}, {"version": 9}, "NOT_FOUND", "Specific(half_plus_two, 9)"),
        ("half_plus_two", {"x": FLOATS}, {"signature": "no"}, "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
        ("half_plus_two", {}, {}, "INVALID_ARGUMENT",
         "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        ("half_plus_two", {"z": FLOATS}, {}, "INVALID_ARGUMENT", "input tensor alias not found in signature: z"),
        ("half_plus_two", {"x": FLOATS}, {"outputs": ["q"]}, "INVALID_ARGUMENT",
         "output tensor alias not found in signature: q"),
        ("half_plus_two", {"x": FLOATS}, {"outputs": ["y", "y"]}, "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
        ("half_plus_two", {"x": FLOATS.astype("i")}, {}, "INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided"),
        ("matrix", {"x": FLOATS.reshape(1, 2)}, {}, "INVALID_ARGUMENT", "Matrix size-incompatible"),
    ],
)  # fmt: skip
def test_errors_have_tf_servings_codes(rpc, model, inputs, more, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        rpc.predict(model, inputs, **more)

    assert caught.value.code().name == code
    assert text in caught.value.details()


def examples(*values: float):
    from serving.server.rest.examples import read_examples

    found = message("Input")()
    found.example_list.examples.extend(read_examples({"examples": [{"x": value} for value in values]}).tolist())
    return found


def test_classify_regress_and_both_at_once(rpc):
    request = message("ClassificationRequest")(input=examples(20.0, 10.0))
    request.model_spec.name, request.model_spec.signature_name = "half_plus_two", "classify_x_to_y"
    request.model_spec.version_label = "Version_Label"
    answer = rpc.call("Classify", request)
    assert [[item.score for item in row.classes] for row in answer.result.classifications] == [[12.0], [7.0]]

    request = message("RegressionRequest")(input=examples(80.0))
    request.model_spec.name, request.model_spec.signature_name = "half_plus_two", "regress_x_to_y"
    request.model_spec.version.value = 123
    assert [item.value for item in rpc.call("Regress", request).result.regressions] == [42.0]

    both = message("MultiInferenceRequest")(input=examples(2.0))
    for signature, method in (("classify_x_to_y", "classify"), ("regress_x_to_y", "regress")):
        task = both.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half_plus_two", signature
        task.model_spec.version.value = 123
    results = rpc.call("MultiInference", both).results
    assert results[0].classification_result.classifications[0].classes[0].score == 3.0
    assert results[1].regression_result.regressions[0].value == 3.0
    with pytest.raises(grpc.RpcError, match="Input is empty"):
        rpc.call("Regress", message("RegressionRequest")(model_spec=request.model_spec))


def test_metadata_and_status(rpc):
    request = message("GetModelMetadataRequest")(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_two"
    answer = rpc.call("GetModelMetadata", request)
    found = message("SignatureDefMap")()
    assert answer.metadata["signature_def"].Unpack(found)
    x = found.signature_def["serving_default"].inputs["x"]
    assert (x.name, x.dtype, [dim.size for dim in x.tensor_shape.dim]) == ("x:0", 1, [-1, 1])
    with pytest.raises(grpc.RpcError, match="must specify at least one metadata_field"):
        rpc.call("GetModelMetadata", message("GetModelMetadataRequest")(model_spec=request.model_spec))

    request = message("GetModelStatusRequest")()
    request.model_spec.name = "half_plus_two"
    rows = rpc.call("GetModelStatus", request, "ModelService").model_version_status
    assert {row.version: row.state for row in rows} == {123: 30, 124: 30}
    request.model_spec.version.value = 7
    with pytest.raises(grpc.RpcError, match="Could not find version 7 of model half_plus_two"):
        rpc.call("GetModelStatus", request, "ModelService")


def test_health_and_reflection(rpc):
    health = health_pb2_grpc.HealthStub(rpc.channel)
    for name in ("", "tensorflow.serving.PredictionService"):
        until(lambda n=name: health.Check(health_pb2.HealthCheckRequest(service=n)).status == 1, f"{name!r} is healthy")
    services = ProtoReflectionDescriptorDatabase(rpc.channel)
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= set(services.get_services())
    assert services.FindFileContainingSymbol("tensorflow.serving.PredictRequest").name == "orchard/serving.proto"


def test_a_configuration_can_be_handed_over(plain_config, zoo, tmp_path):
    config = tmp_path / "models.config"
    with (
        Serve(config, tmp_path / "log", ENVIRONMENT, "--grpc-port", "0", wait=False) as server,
        dial(server) as channel,
    ):
        client = GrpcTestClient(channel)
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        request = message("ReloadConfigRequest")()
        model = request.config.model_config_list.config.add(name="m", base_path=str(zoo / "half_plus_two"))
        model.model_version_policy.specific.versions.append(123)
        model.version_labels["stable"] = 123

        answer = client.call("HandleReloadConfigRequest", request, "ModelService")

        assert answer.status.error_code == 0
        assert from_proto(client.predict("m", {"x": FLOATS}).outputs["y"]).tolist() == [2.5, 3.0]
        thread = threading.Thread(target=lambda: os.kill(server.child.pid, signal.SIGTERM))
        thread.start()
        assert server.child.wait() == 0


def test_deadlines_and_limits(plain_config, tmp_path):
    with (
        Serve(plain_config, tmp_path / "log", ENVIRONMENT, "--grpc-port", "0", "--max-body", "1") as server,
        dial(server) as channel,
    ):
        client = GrpcTestClient(channel)
        request = message("PredictRequest")()
        request.model_spec.name = "slow"
        to_proto(np.array([20_000], np.int32), data_type(3), request.inputs["times"])
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict", type(request).SerializeToString, bytes
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=0.1)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError) as caught:
            client.predict("matrix", {"x": np.zeros((100_000, 4), np.float32)})
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.predict("matrix", {"x": np.zeros((1, 4), np.float32)}).outputs


@pytest.mark.parametrize(
    ("dtype", "values"),
    [(1, [1.5, -2]), (2, [0.1]), (3, [-5]), (4, [255]), (5, [-5]), (6, [-5]), (7, [b"x", b""]), (8, [1 + 2j]), (9, [1 << 62]),
     (10, [True, False]), (17, [65535]), (18, [1j]), (19, [1.5]), (22, [1 << 31]), (23, [1 << 63])],
)  # fmt: skip
def test_a_tensor_comes_back_from_its_message(dtype, values):
    kind = data_type(dtype)
    array = np.array(values, object if dtype == 7 else kind.numpy)
    proto = message("tensorflow.TensorProto")()
    to_proto(array, kind, proto)

    assert from_proto(proto).tolist() == array.tolist()
    if dtype != 7:
        content = message("tensorflow.TensorProto")(dtype=dtype, tensor_content=array.tobytes())
        content.tensor_shape.dim.add(size=len(values))
        assert from_proto(content).tolist() == array.tolist()


def test_a_short_tensor_repeats_its_last_value_and_a_wrong_one_is_refused():
    proto = message("tensorflow.TensorProto")(dtype=1, float_val=[7.0, 8.0])
    proto.tensor_shape.dim.add(size=4)
    assert from_proto(proto).tolist() == [7.0, 8.0, 8.0, 8.0]
    assert from_proto(message("tensorflow.TensorProto")(dtype=1, float_val=[1.0, 2.0])).tolist() == 1.0
    wrong = [
        message("tensorflow.TensorProto")(dtype=1, tensor_content=b"123"),
        message("tensorflow.TensorProto")(dtype=20),
        message("tensorflow.TensorProto")(dtype=99),
    ]
    huge = message("tensorflow.TensorProto")(dtype=1)
    huge.tensor_shape.dim.add(size=1 << 40)
    negative = message("tensorflow.TensorProto")(dtype=1)
    negative.tensor_shape.dim.add(size=-1)
    for proto in (*wrong, huge, negative):
        with pytest.raises(ServingError):
            from_proto(proto)
