"""TF Serving's other answers: status, metadata, classify, regress."""

from __future__ import annotations

import pytest

HALF = "/v1/models/half_plus_two"
AVAILABLE = """  {
   "version": "%d",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }"""


@pytest.mark.parametrize(
    ("path", "versions"),
    [(HALF, [124, 123]), (f"{HALF}/versions/123", [123]), (f"{HALF}/labels/Version_Label", [124, 123])],
)
def test_status_names_every_version_whatever_the_label(call, path, versions):
    answer = call("GET", path)

    rows = ",\n".join(AVAILABLE % version for version in sorted(versions))
    listed = [row["version"] for row in answer.json["model_version_status"]]
    assert listed == [str(version) for version in versions]
    if len(versions) == 1:
        assert answer.body.decode() == '{\n "model_version_status": [\n' + rows + "\n ]\n}\n"


@pytest.mark.parametrize("which", ["/versions/123", "/labels/Version_Label"])
def test_metadata_describes_every_signature(call, which):
    answer = call("GET", f"{HALF}{which}/metadata")

    document = answer.json
    assert document["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert signatures["serving_default"]["defaults"] == {}
    x = signatures["serving_default"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert x["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
        "unknown_rank": False,
    }
    assert x["name"] == "x:0"
    assert answer.body.startswith(
        b'{\n"model_spec":{\n "name": "half_plus_two",\n "signature_name": "",\n "version": "123"\n}\n,\n"metadata": {"signature_def": {\n'
    )


def test_metadata_shows_reference_types(call):
    # get_model_metadata_impl.cc copies the SignatureDef; types.proto has a reference of every type
    signatures = call("GET", "/v1/models/counter/metadata").json["metadata"]["signature_def"]["signature_def"]

    assert signatures["incr_counter_by"]["outputs"]["output"]["dtype"] == "DT_FLOAT_REF"
    assert signatures["incr_counter_by"]["inputs"]["delta"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize("dtype", ["float32", "uint32", "bfloat16", "complex64", "string"])
def test_metadata_names_every_type(call, dtype):
    signatures = call("GET", "/v1/models/types/metadata").json["metadata"]["signature_def"]["signature_def"]

    x = signatures[dtype]["inputs"]["x"]
    assert x["dtype"] == "DT_" + dtype.upper().replace("FLOAT32", "FLOAT")
    assert x["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_metadata_of_a_tf2_model_shows_its_initialisation(call):
    signatures = call("GET", "/v1/models/module/metadata").json["metadata"]["signature_def"]["signature_def"]

    assert signatures["__saved_model_init_op"]["outputs"]["__saved_model_init_op"]["dtype"] == "DT_INVALID"
    assert signatures["__saved_model_init_op"]["outputs"]["__saved_model_init_op"]["tensor_shape"]["unknown_rank"]


@pytest.mark.parametrize(
    "path",
    [
        "/V1/MODELS/half_plus_two",
        "/v1/models/half%5Fplus%5ftwo",
        "/v1/models/half_plus_two/versions/0000123",
    ],
)
def test_paths_ignore_case_and_are_decoded(call, path):
    assert call("GET", path).status == 200


def test_classify_answers_pairs_of_label_and_score(call):
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}, {"x": [10.0]}]}

    answer = call("POST", f"{HALF}/versions/123:classify", body)

    assert answer.json == {"results": [[["", 12]], [["", 7]]]}
    assert answer.body == b'{\n    "results": [[["", 12.0]], [["", 7.0]]\n    ]\n}'


def test_regress_answers_one_number_for_each_example(call):
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}, {"x": 2.0}]}

    answer = call("POST", f"{HALF}/labels/Version_Label:regress", body)

    assert answer.body == b'{\n    "results": [42.0, 3.0]\n}'


def test_a_context_counts_for_every_example(call):
    body = {
        "signature_name": "regress_x_to_y2",
        "context": {"x2": 10.0},
        "examples": [{"x": 1.0}, {"x": 1.0, "x2": 4.0}],
    }

    assert call("POST", f"{HALF}/versions/123:regress", body).json == {"results": [7.0, 4.0]}


def test_what_the_graph_refuses_in_an_example_is_a_400(call):
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2}]}

    answer = call("POST", f"{HALF}:regress", body)

    assert answer.status == 400
    assert "Data types don't match. Data type: int64 but expected type: float" in answer.error


def test_metrics_have_tf_servings_names(call, predict):
    assert predict("matrix", {"instances": [[1, 2, 3, 4]]}).status == 200

    text = call("GET", "/monitoring/prometheus/metrics").body.decode()

    assert ':tensorflow:serving:request_count{model_name="matrix",status="OK"}' in text
    assert (
        ':tensorflow:serving:request_latency_bucket{model_name="matrix",API="Predict",entrypoint="REST",le="10"}'
        in text
    )
    assert ':tensorflow:serving:runtime_latency_count{model_name="matrix",API="Predict",runtime="TF1"}' in text
    assert call("GET", "/monitoring/prometheus/metrics?x=1").status == 400
