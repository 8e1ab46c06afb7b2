"""Classification and regression, as TF Serving's `servables/tensorflow/classifier.cc` and `regressor.cc` check them.

By default the model server does not check method names (`--enable_signature_method_name_check` in `main.cc`), so that
`GetClassificationSignatureDef` and `GetRegressionSignatureDef` judge by inputs and outputs alone.
"""

from __future__ import annotations

import pytest

EXAMPLES = "/v1/models/examples"
ROWS = [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]


@pytest.mark.parametrize(
    ("method", "signature", "results"),
    [
        ("classify", None, [[["1.0", 2.0], ["2.0", 4.0]], [["3.0", 6.0], ["4.0", 8.0]]]),
        ("classify", "scores", [[["", 2.0], ["", 4.0]], [["", 6.0], ["", 8.0]]]),
        ("classify", "classes", [[["1.0", 0.0], ["2.0", 0.0]], [["3.0", 0.0], ["4.0", 0.0]]]),
        ("regress", "total", [3.0, 7.0]),
        ("regress", "column", [3.0, 7.0]),
    ],
)
def test_a_tf2_export_is_answered_although_its_method_names_say_predict(call, method, signature, results):
    body = {"examples": ROWS} | ({"signature_name": signature} if signature else {})

    answer = call("POST", f"{EXAMPLES}:{method}", body)

    assert (answer.status, answer.json) == (200, {"results": results})


@pytest.mark.parametrize(
    ("method", "signature", "error"),
    [
        ("classify", "none", "No signature was found with the name: none"),
        ("classify", "two_inputs", "Expected one input Tensor."),
        ("classify", "three_outputs", "Expected one or two output Tensors, found 3"),
        ("classify", "no_input", "No classification inputs found in SignatureDef: inputs {"),
        ("classify", "no_output",
         'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: inputs {'),
        ("classify", "total",
         'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: inputs {'),
        ("classify", "flat", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("classify", "double", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("classify", "number_classes", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("classify", "one_row", "Expected scores output batch size of 2. Got: 1"),
        ("classify", "unequal", "Tensors class and score should match in dim_size(1). Got 1 vs. 2"),
        ("classify", "number", "Expects arg[0] to be float but string is provided"),
        ("regress", "none", "No signature was found with the name: none"),
        ("regress", "two_inputs", "Expected one input Tensor."),
        ("regress", "double", "Expected one output Tensor."),
        ("regress", "no_input", "No regression inputs found in SignatureDef: inputs {"),
        ("regress", "no_output", "No regression outputs found in SignatureDef: inputs {"),
        ("regress", "matrix", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("regress", "one_total", "Input batch size did not match output batch size: 2 vs. 1"),
        ("regress", "double_total", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        ("regress", "number_total", "Expects arg[0] to be float but string is provided"),
    ],
)  # fmt: skip
def test_a_wrong_signature_is_told_by_inputs_then_outputs(call, method, signature, error):
    answer = call("POST", f"{EXAMPLES}:{method}", {"signature_name": signature, "examples": ROWS})

    assert answer.status == 400
    assert answer.error.startswith(error)


def test_an_error_shows_the_signature_in_protobufs_text_format(call):
    answer = call("POST", f"{EXAMPLES}:classify", {"signature_name": "no_output", "examples": ROWS})

    assert answer.error.split("Signature was: ")[1] == (
        'inputs {\n  key: "inputs"\n  value {\n    name: "serialised:0"\n    dtype: DT_STRING\n    tensor_shape {\n'
        '      dim {\n        size: -1\n      }\n    }\n  }\n}\noutputs {\n  key: "y"\n  value {\n    name: "mul_10:0"\n'
        "    dtype: DT_FLOAT\n    tensor_shape {\n      dim {\n        size: -1\n      }\n      dim {\n        size: 2\n"
        '      }\n    }\n  }\n}\nmethod_name: "tensorflow/serving/predict"\n'
    ).replace("mul_10:0", answer.error.split('key: "y"\n  value {\n    name: "')[1].split('"')[0])


@pytest.mark.parametrize(
    ("examples", "error"),
    [
        ([{"x": None}], "Feature: x has element with unexpected JSON type: Null"),
        ([{"x": {"y": 1}}], "Feature: x has element with unexpected JSON type: Object"),
        ([{"x": [[1]]}], "Feature: x has element with unexpected JSON type: Array"),
        ([{"x": [1, "a"]}], "Unexpected element type in feature: x expecting type: int64"),
        ([{"x": ["a", 1]}], "Unexpected element type in feature: x expecting type: bytes"),
        ([{"x": [1.0, True]}], "Unexpected element type in feature: x expecting type: float"),
        ([{"x": [1.0, 18446744073709551615]}], "Unexpected element type in feature: x expecting type: float"),
        ([{"x": [1, 9223372036854775808]}], "Feature: x has uint64_t element. Only int64_t is supported."),
        ([{"x": {"b64": "!"}}], "Unable to base64 decode"),
        ([1], "Example must be JSON object but got JSON Number"),
        (["x"], "Example must be JSON object but got JSON String"),
        ([None], "Example must be JSON object but got JSON Null"),
        ([True], "Example must be JSON object but got JSON True"),
    ],
)
def test_features_are_read_as_json_tensor_cc_does(call, examples, error):
    answer = call("POST", f"{EXAMPLES}:classify", {"examples": examples})

    assert (answer.status, answer.error) == (400, error)


def test_the_body_is_read_before_model_and_signature_are_looked_up(call):
    assert call("POST", "/v1/models/foo:regress", {"examples": [1]}).status == 400
    assert call("POST", "/v1/models/foo:regress", {"examples": [{}]}).status == 404


def test_a_context_must_be_an_object(call):
    answer = call("POST", f"{EXAMPLES}:classify", {"context": [1], "examples": ROWS})

    assert answer.error == "Example must be JSON object but got JSON Array"


def test_a_feature_given_twice_has_its_last_value_and_a_member_its_first(call):
    body = b'{"signature_name": "total", "examples": [{"x": [1.0, 2.0], "x": [3.0, 4.0]}], "examples": 5}'

    assert call("POST", f"{EXAMPLES}:regress", body).json == {"results": [7.0]}
