"""gRPC's answers and errors, as TF Serving's sources give them.

`model_servers/server_core.cc` (ModelSpec), `servables/tensorflow/predict_util.cc`, `classifier.cc`, `regressor.cc`,
`multi_inference.cc` and `multi_inference_helper.cc`, `get_model_metadata_impl.cc`, `model_servers/get_model_status_impl.cc`,
`model_service_impl.cc` and `grpc_status_util.cc`; TensorFlow's `core/framework/tensor.cc` for tensors.
"""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from serving.protos import message
from serving.server.rest.examples import read_examples
from serving.server.runtime.tensor_protos import from_proto

FLOATS = np.array([1.0, 2.0], np.float32)
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def failure(function: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        function()
    return caught.value.code().name, caught.value.details()


def example_input(*rows: dict[str, Any]) -> Any:
    found = message("Input")()
    found.example_list.examples.extend(read_examples({"examples": list(rows)}).tolist() if rows else [])
    return found


def spec(model: str = "half_plus_two", signature: str = "", **more: Any) -> Any:
    return message("ModelSpec")(name=model, signature_name=signature, **more)


REQUESTS = {
    "Predict": ("PredictRequest", "PredictionService"),
    "Classify": ("ClassificationRequest", "PredictionService"),
    "Regress": ("RegressionRequest", "PredictionService"),
    "GetModelMetadata": ("GetModelMetadataRequest", "PredictionService"),
    "GetModelStatus": ("GetModelStatusRequest", "ModelService"),
}


def call(rpc: Any, method: str, model_spec: Any = None, **more: Any) -> Any:
    kind, service = REQUESTS[method]
    return rpc.call(method, message(kind)(model_spec=model_spec, **more), service)


@pytest.mark.parametrize("method", list(REQUESTS))
def test_a_request_needs_a_model_spec(rpc_client, method):
    assert failure(lambda: call(rpc_client, method)) == ("INVALID_ARGUMENT", "Missing ModelSpec")


@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "GetModelMetadata"])
def test_a_model_spec_needs_a_name(rpc_client, method):
    more = {"metadata_field": ["signature_def"]} if method == "GetModelMetadata" else {}

    found = failure(lambda: call(rpc_client, method, message("ModelSpec")(signature_name="x"), **more))

    assert found == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_a_status_without_a_name_finds_no_versions(rpc_client):
    found = failure(lambda: call(rpc_client, "GetModelStatus", message("ModelSpec")(signature_name="x")))

    assert found == ("NOT_FOUND", "Could not find any versions of model ")


@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "GetModelMetadata"])
@pytest.mark.parametrize(
    ("chosen", "code", "text"),
    [
        ({"version_label": "none"}, "INVALID_ARGUMENT", "Unrecognized servable version label: none"),
        ({"version_label": ""}, "INVALID_ARGUMENT", "Unrecognized servable version label: "),
        ({"version": {"value": 7}}, "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 7)"),
        ({"version": {"value": -1}}, "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, -1)"),
        ({"version": {}}, "NOT_FOUND", "Servable not found for request: Specific(half_plus_two, 0)"),
    ],
)  # fmt: skip
def test_a_version_or_a_label_is_looked_up(rpc_client, method, chosen, code, text):
    more = {"metadata_field": ["signature_def"]} if method == "GetModelMetadata" else {}

    assert failure(lambda: call(rpc_client, method, spec(**chosen), **more)) == (code, text)


def test_of_a_version_and_a_label_the_last_one_set_counts(rpc_client):
    chosen = spec(version={"value": 7})
    chosen.version_label = "Version_Label"

    found = call(rpc_client, "GetModelMetadata", chosen, metadata_field=["signature_def"])

    assert (found.model_spec.version.value, found.model_spec.signature_name) == (123, "")


def test_an_answer_names_model_version_and_signature(rpc_client):
    found = rpc_client.predict("half_plus_two", {"x": FLOATS})
    assert (found.model_spec.name, found.model_spec.version.value) == ("half_plus_two", 124)
    assert (found.model_spec.signature_name, found.model_spec.version_label) == ("serving_default", "")

    found = call(rpc_client, "Classify", spec("examples"), input=example_input({"x": [1.0, 2.0]}))
    assert found.model_spec.signature_name == "serving_default"
    assert [(item.label, item.score) for item in found.result.classifications[0].classes] == [
        ("1.0", 2.0),
        ("2.0", 4.0),
    ]


def test_a_scalar_has_an_empty_shape(rpc_client):
    found = rpc_client.predict("shapes", {"a": FLOATS}, signature="scalar").outputs["y"]

    assert found.HasField("tensor_shape")
    assert (len(found.tensor_shape.dim), list(found.float_val)) == (0, [3.0])


# predict_util.cc


@pytest.mark.parametrize(
    ("model", "inputs", "more", "code", "text"),
    [
        ("shapes", {"a": FLOATS}, {}, "INVALID_ARGUMENT",
         "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."),
        ("matrix", {"x": FLOATS, "z": FLOATS}, {}, "INVALID_ARGUMENT",
         "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}."),
        ("matrix", {"z": FLOATS}, {}, "INVALID_ARGUMENT",
         "input tensor alias not found in signature: z. Inputs expected to be in the set {x}."),
        ("matrix", {"x": FLOATS}, {"outputs": ["q"]}, "INVALID_ARGUMENT",
         "output tensor alias not found in signature: q Outputs expected to be in the set {y}."),
        ("matrix", {"x": FLOATS}, {"outputs": ["y", "y"]}, "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
        ("matrix", {"x": FLOATS}, {"signature": "none"}, "FAILED_PRECONDITION",
         'Serving signature key "none" not found.'),
        ("counter", {}, {}, "FAILED_PRECONDITION", 'Serving signature key "serving_default" not found.'),
        ("matrix", {"x": FLOATS.astype("d")}, {}, "INVALID_ARGUMENT", "Expects arg[0] to be float but double is provided"),
        ("shapes", {"a": FLOATS, "b": FLOATS}, {}, "INVALID_ARGUMENT",
         "Expects arg[1] to be string but float is provided"),
        ("shapes", {"a": FLOATS.astype("i"), "b": FLOATS}, {}, "INVALID_ARGUMENT",
         "Expects arg[0] to be float but int32 is provided"),
    ],
)  # fmt: skip
def test_inputs_and_outputs_must_be_the_signatures(rpc_client, model, inputs, more, code, text):
    assert failure(lambda: rpc_client.predict(model, inputs, **more)) == (code, text)


def test_a_signature_without_inputs_is_run(rpc_client):
    assert from_proto(rpc_client.predict("counter", {}, signature="get_counter").outputs["output"]).tolist() == 0.0


def test_of_the_outputs_those_that_are_named_come(rpc_client):
    found = rpc_client.predict("shapes", {"a": FLOATS, "b": np.array([b"x", b"y"], object)}, outputs=["double"])

    assert list(found.outputs) == ["double"]


def tensor(**more: Any) -> Any:
    dims = more.pop("dims", ())
    found = message("tensorflow.TensorProto")(**more)
    for size in dims:
        found.tensor_shape.dim.add(size=size)
    return found


def send_tensor(rpc: Any, signature: str, proto: Any) -> Any:
    request = message("PredictRequest")(model_spec=spec("types", signature))
    request.inputs["x"].CopyFrom(proto)
    return from_proto(rpc.call("Predict", request).outputs["y"]).tolist()


@pytest.mark.parametrize(
    ("signature", "proto", "values"),
    [
        ("float32", tensor(dtype=1, float_val=[7.0], dims=[3]), [7.0, 7.0, 7.0]),
        ("float32", tensor(dtype=1, dims=[2]), [0.0, 0.0]),
        ("float32", tensor(dtype=1, float_val=[1.0, 2.0, 3.0], dims=[2]), [1.0, 2.0]),
        ("float32", tensor(dtype=1, float_val=[1.0], dims=[0]), []),
        ("float32", tensor(dtype=1, float_val=[1.0, 2.0]), 1.0),
        ("float32", tensor(dtype=1, tensor_content=np.array([1.5, -2.0], "<f4").tobytes(), dims=[2, 1]), [[1.5], [-2.0]]),
        ("string", tensor(dtype=7, string_val=[b"a"], dims=[2]), [b"a", b"a"]),
        ("string", tensor(dtype=7, dims=[1]), [b""]),
        ("string", tensor(dtype=7, tensor_content=b"\x01\x03abcd", dims=[2]), [b"a", b"bcd"]),
        ("int8", tensor(dtype=6, int_val=[300], dims=[1]), [44]),
        ("float16", tensor(dtype=19, half_val=[0x3C00 + (1 << 16)], dims=[1]), [1.0]),
        ("bool", tensor(dtype=10, bool_val=[True], dims=[2]), [True, True]),
    ],
)  # fmt: skip
def test_a_tensor_is_parsed_as_tensorflow_does(rpc_client, signature, proto, values):
    assert send_tensor(rpc_client, signature, proto) == values


@pytest.mark.parametrize(
    "proto",
    [
        tensor(dtype=1, tensor_content=b"123", dims=[1]),
        tensor(dtype=1, dims=[-1]),
        tensor(dtype=1, tensor_shape={"unknown_rank": True}),
        tensor(dtype=1, dims=[1 << 40, 1 << 40]),
        tensor(dtype=1, dims=[1] * 255),
        tensor(dtype=0, dims=[1]),
        tensor(dtype=101, float_val=[1.0], dims=[1]),
        tensor(dtype=99, dims=[1]),
        tensor(dtype=7, tensor_content=b"\x05abcd", dims=[1]),
        tensor(dtype=7, tensor_content=b"\x80", dims=[1]),
    ],
)
def test_what_tensorflow_cannot_parse_is_named_by_its_alias(rpc_client, proto):
    assert failure(lambda: send_tensor(rpc_client, "float32", proto)) == ("INVALID_ARGUMENT", "tensor parsing error: x")


# classifier.cc, regressor.cc, util.cc


def test_a_wrong_signature_is_found_before_an_empty_input(rpc_client):
    for method in ("Classify", "Regress"):
        empty = failure(lambda m=method: call(rpc_client, m, spec("examples", "total" if m == "Regress" else "scores")))
        assert empty == ("INVALID_ARGUMENT", "Input is empty.")
        wrong = failure(lambda m=method: call(rpc_client, m, spec("examples", "two_inputs")))
        assert wrong == ("INVALID_ARGUMENT", "Expected one input Tensor.")


def test_a_context_is_merged_into_every_example(rpc_client):
    source = message("Input")()
    source.example_list_with_context.examples.extend(read_examples({"examples": [{"x": 80.0}, {}]}).tolist())
    (context,) = read_examples({"examples": [{"x": 2.0}]}).tolist()
    source.example_list_with_context.context = context

    found = call(rpc_client, "Regress", spec(signature="regress_x_to_y", version={"value": 123}), input=source)

    assert [item.value for item in found.result.regressions] == [42.0, 3.0]


def test_a_long_message_is_cut_after_1024_bytes(rpc_client):
    code, text = failure(lambda: call(rpc_client, "Classify", spec(version_label="é" * 1000)))

    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Unrecognized servable version label: ééé")
    assert text.endswith("...TRUNCATED")
    assert len(text.removesuffix("...TRUNCATED").rstrip("\ufffd").encode()) in (1023, 1024)


# multi_inference.cc


def multi(rpc: Any, *tasks: tuple[Any, str], source: Any = None) -> Any:
    request = message("MultiInferenceRequest")(input=source or example_input({"x": 2.0}))
    for model_spec, method in tasks:
        request.tasks.add(model_spec=model_spec, method_name=method)
    return rpc.call("MultiInference", request)


def test_tasks_on_one_version_are_answered_in_their_order(rpc_client):
    first = spec(signature="regress_x_to_y", version={"value": 123})

    found = multi(rpc_client, (first, REGRESS), (spec(signature="classify_x_to_y"), CLASSIFY)).results

    assert found[0].regression_result.regressions[0].value == 3.0
    assert found[1].classification_result.classifications[0].classes[0].score == 3.0
    assert [(item.model_spec.version.value, item.model_spec.signature_name) for item in found] == [
        (123, "regress_x_to_y"),
        (123, "classify_x_to_y"),
    ]


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([(None, REGRESS)], "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ([(spec("none"), REGRESS)], "NOT_FOUND", "Servable not found for request: Latest(none)"),
        ([(spec(signature="regress_x_to_y"), REGRESS), (spec(""), REGRESS)], "INVALID_ARGUMENT",
         "Found ModelSpec with an empty model name."),
        ([(spec(signature="regress_x_to_y"), REGRESS), (spec("matrix"), REGRESS)], "INVALID_ARGUMENT",
         "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
        ([(spec(signature="regress_x_to_y"), REGRESS)] * 2, "INVALID_ARGUMENT",
         "Duplicate evaluation of signature: regress_x_to_y"),
        ([(spec("examples"), CLASSIFY), (spec("examples", "serving_default"), CLASSIFY)], "INVALID_ARGUMENT",
         "Duplicate evaluation of signature: serving_default"),
        ([(spec(signature="none"), REGRESS)], "INVALID_ARGUMENT", "Requested signature not found in model graph: none"),
        ([(spec(), "tensorflow/serving/predict")], "UNIMPLEMENTED",
         "Unsupported signature method_name: tensorflow/serving/predict"),
        ([(spec(), "")], "UNIMPLEMENTED", "Unsupported signature method_name: "),
        ([(spec("examples", "total"), REGRESS), (spec("examples", "other_total"), REGRESS)], "INVALID_ARGUMENT",
         "Input tensor must be the same for all Signatures."),
        ([(spec("examples", "two_inputs"), REGRESS)], "INVALID_ARGUMENT", "Expected one input Tensor."),
    ],
)  # fmt: skip
def test_tasks_that_do_not_fit_together_are_refused(rpc_client, tasks, code, text):
    assert failure(lambda: multi(rpc_client, *tasks)) == (code, text)


def test_tasks_need_an_example(rpc_client):
    found = failure(lambda: multi(rpc_client, (spec(signature="regress_x_to_y"), REGRESS), source=example_input()))

    assert found == ("INVALID_ARGUMENT", "Input is empty.")


# get_model_metadata_impl.cc, get_model_status_impl.cc, model_service_impl.cc


def test_metadata_fields_are_checked_before_the_model(rpc_client):
    none = failure(lambda: call(rpc_client, "GetModelMetadata", spec("none")))
    assert none == ("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
    other = failure(
        lambda: call(rpc_client, "GetModelMetadata", spec("none"), metadata_field=["signature_def", "other"])
    )
    assert other == ("INVALID_ARGUMENT", "Metadata field %s is not supportedother")
    known = failure(lambda: call(rpc_client, "GetModelMetadata", spec("none"), metadata_field=["signature_def"]))
    assert known == ("NOT_FOUND", "Servable not found for request: Latest(none)")


def test_metadata_has_reference_types(rpc_client):
    found = call(rpc_client, "GetModelMetadata", spec("counter"), metadata_field=["signature_def"])
    signatures = message("SignatureDefMap")()
    found.metadata["signature_def"].Unpack(signatures)

    assert signatures.signature_def["incr_counter_by"].outputs["output"].dtype == 101


def test_a_status_has_the_newest_version_first_and_ignores_a_label(rpc_client):
    for model_spec in (spec(), spec(version_label="none")):
        rows = call(rpc_client, "GetModelStatus", model_spec).model_version_status
        assert [(row.version, row.state, row.status.error_code) for row in rows] == [(124, 30, 0), (123, 30, 0)]
    assert failure(lambda: call(rpc_client, "GetModelStatus", spec(version={"value": 7}))) == (
        "NOT_FOUND",
        "Could not find version 7 of model half_plus_two",
    )


def test_a_reload_needs_a_list_in_which_each_model_is_once(rpc_client):
    empty = message("ReloadConfigRequest")()
    assert failure(lambda: rpc_client.call("HandleReloadConfigRequest", empty, "ModelService")) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
    )
    twice = message("ReloadConfigRequest")()
    for _ in range(2):
        twice.config.model_config_list.config.add(name="m", base_path="/none", model_platform="tensorflow")
    assert failure(lambda: rpc_client.call("HandleReloadConfigRequest", twice, "ModelService")) == (
        "INVALID_ARGUMENT",
        "Illegal to list model m multiple times in config list",
    )
