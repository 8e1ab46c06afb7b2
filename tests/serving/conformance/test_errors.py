"""TF Serving's errors: statuses and texts."""

from __future__ import annotations

import pytest

HALF = "/v1/models/half_plus_two"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/models/foo:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(foo)"),
        ("GET", "/v1/models/foo/metadata", None, 404, "Servable not found for request: Latest(foo)"),
        ("POST", f"{HALF}/versions/99:predict", {"instances": [1]}, 404,
         "Servable not found for request: Specific(half_plus_two, 99)"),
        ("POST", f"{HALF}/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        ("GET", f"{HALF}/labels/x/metadata", None, 400, "Unrecognized servable version label: x"),
        ("POST", "/v1/foo", "", 400, "Malformed request: POST /v1/foo"),
        ("GET", "/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/debug/model_name", None, 400, "Malformed request: GET /v1/models/debug/model_name"),
        ("POST", "/v1/models", "", 400, "Malformed request"),
        ("GET", "/v1/models/foo:predict", None, 400, "Malformed request"),
        ("POST", "/v1/models/foo/version/50:regress", "", 400, "Malformed request"),
        ("POST", "/v1/models/foo/versions/HELLO:regress", "", 400, "Malformed request"),
        ("POST", "/v1/models/foo/metadata", "", 400, "Malformed request"),
        ("POST", "/v1/models/foo/label/some_label:regress", "", 400, "Malformed request"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress", "", 400, "Malformed request"),
        ("POST", f"{HALF}:PREDICT", {"instances": [1]}, 400, f"Malformed request: POST {HALF}:PREDICT"),
        ("PUT", HALF, "", 400, "Malformed request: PUT"),
        ("DELETE", HALF, None, 400, "Malformed request: DELETE"),
        ("GET", "/v1/models/foo", None, 404, "Could not find any versions of model foo"),
        ("GET", f"{HALF}/versions/9", None, 404, "Could not find version 9 of model half_plus_two"),
        ("POST", f"{HALF}:predict", "", 400, "JSON Parse error: The document is empty"),
        ("POST", f"{HALF}:predict", "instances = [1, 2]", 400, "JSON Parse error: Invalid value. at offset: 0"),
        ("POST", f"{HALF}:predict", "[]", 400, "JSON Value: [] Is not object"),
        ("POST", f"{HALF}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", f"{HALF}:predict", {"inputs": 1, "instances": [1]}, 400,
         "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"),
        ("POST", f"{HALF}:predict", {"instances": 5}, 400, "Expecting 'instances' to be an list/array"),
        ("POST", f"{HALF}:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("POST", f"{HALF}:predict", {"signature_name": 5, "instances": [1]}, 400,
         "'signature_name' key must be a string value."),
        ("POST", f"{HALF}:predict", {"signature_name": "x", "instances": [1]}, 400,
         'Serving signature name: "x" not found in signature def'),
        ("POST", f"{HALF}:predict", {"instances": ["x"]}, 400,
         'Failed to process element: 0 of \'instances\' list. Error: INVALID_ARGUMENT: JSON Value: "x" Type: String'
         " is not of expected type: float"),
        ("POST", f"{HALF}:predict", {"instances": [[1, 2], [3]]}, 400, "Expecting tensor size: 2 but got: 1"),
        ("POST", f"{HALF}:predict", {"instances": [[1, 2], [[1, 2]]]}, 400, "Expecting shape [2] but got: [1,2]"),
        ("POST", f"{HALF}:predict", {"instances": [1, [1]]}, 400, "Expecting shape [] but got: [1]"),
        ("POST", f"{HALF}:predict", {"instances": [[[1, 2], [3]]]}, 400, "Encountered list at unexpected size: 1"),
        ("POST", f"{HALF}:predict", {"inputs": [1, [2]]}, 400, "Encountered list at unexpected level: 1 expected < 1"),
        ("POST", f"{HALF}:predict", {"inputs": [[1], 2]}, 400, "found at incorrect level: 2 in the JSON DOM"),
        ("POST", "/v1/models/shapes:predict", {"instances": [1]}, 400,
         "instances is a plain list, but expecting list of objects as multiple input tensors required"),
        ("POST", "/v1/models/shapes:predict", {"inputs": [1]}, 400,
         "inputs is a plain value/list, but expecting an object as multiple input tensors required"),
        ("POST", "/v1/models/shapes:predict", {"instances": [{"a": 1, "c": 1}]}, 400,
         "JSON object: does not have named input: c"),
        ("POST", "/v1/models/shapes:predict", {"instances": [{"a": 1}]}, 400, "keys must be equal to: a,b"),
        ("POST", "/v1/models/shapes:predict", {"instances": [{"a": 1, "b": "x"}, [1]]}, 400,
         "Expecting object but got list at item 1 of input list"),
        ("POST", f"{HALF}:predict", {"instances": [[1], {"x": 1}]}, 400,
         "Expecting value/list but got object at item 1 of input list"),
        ("POST", "/v1/models/shapes:predict", {"inputs": {"a": [1]}}, 400, "Missing named input: b in 'inputs' object."),
        ("POST", "/v1/models/matrix:predict", {"instances": [[1, 2, 3]]}, 400,
         "Matrix size-incompatible: In[0]: [1,3], In[1]: [4,2]"),
        ("POST", "/v1/models/shapes:predict", {"signature_name": "scalar", "instances": [1]}, 400,
         "Tensor name: y has no shape information "),
        ("POST", "/v1/models/types:predict", {"signature_name": "complex64", "inputs": [1]}, 501,
         "Conversion of JSON Value: 1 to type: complex64"),
        ("POST", "/v1/models/types:predict", {"signature_name": "complex64", "instances": [1]}, 400,
         "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: complex64"),
        ("POST", "/v1/models/counter:predict", {"instances": [1]}, 400,
         'Serving signature name: "serving_default" not found in signature def'),
        ("POST", f"{HALF}:classify", {"examples": [{"x": 1.0}]}, 400,
         "Expected classification signature method_name to be tensorflow/serving/classify."
         " Was: tensorflow/serving/predict"),
        ("POST", f"{HALF}:regress", {"signature_name": "none", "examples": [{"x": 1.0}]}, 400,
         "No signature was found with the name: none"),
        ("POST", f"{HALF}:classify", {"examples": {"x": 1.0}}, 400, "Expecting 'examples' value to be an list/array"),
        ("POST", f"{HALF}:classify", {"examples": []}, 400, "'examples' value is an empty array"),
        ("POST", f"{HALF}:classify", {}, 400, "key 'examples' is expected and was not found"),
        ("POST", f"{HALF}:classify", {"examples": [[1]]}, 400, "Example must be JSON object but got JSON Array"),
        ("POST", f"{HALF}:classify", {"examples": [{"x": [1, None]}]}, 400,
         "Feature: x has element with unexpected JSON type: Null"),
        ("POST", f"{HALF}:classify", {"examples": [{"x": [1, 1.0]}]}, 400,
         "Unexpected element type in feature: x expecting type: int64"),
        ("POST", f"{HALF}:classify", {"examples": [{"x": 18446744073709551603}]}, 400,
         "Feature: x has uint64 element. Only int64 is supported."),
    ],
)  # fmt: skip
def test_a_wrong_request_gets_tf_servings_status_and_words(call, method, path, body, status, text):
    answer = call(method, path, body)

    assert answer.status == status, answer.body
    assert text in answer.error
    assert answer.headers["content-type"] == "application/json"


def test_an_error_of_a_kernel_keeps_tensorflows_words(call):
    answer = call("POST", "/v1/models/matrix:predict", {"instances": [1]})

    assert answer.status == 400, answer.body
    # the kernel, and so its text, depends on the processor: oneDNN's, or TensorFlow's own
    assert any(text in answer.error for text in ("In[0] ndims must be >= 2", "In[0] and In[1] has different ndims"))


def test_an_error_is_laid_out_as_tf_serving_does(call):
    answer = call("GET", "/v1/models")

    assert answer.body == b'{\n    "error": "Missing model name in request."\n}'


def test_a_version_beyond_int64_has_an_empty_body(call):
    answer = call("POST", f"{HALF}/versions/18446744073709551615:regress", "")

    assert (answer.status, answer.body) == (400, b"")


def test_bad_json_to_an_unknown_model_is_bad_json_first(call):
    assert "JSON Parse error" in call("POST", "/v1/models/foo:predict", "{").error
    assert call("POST", "/v1/models/foo:predict", {}).status == 404
    assert call("POST", "/v1/models/foo:classify", {}).status == 400


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{", "Missing a name for object member. at offset: 1"),
        ('{"a"', "Missing a colon after a name of object member. at offset: 4"),
        ('{"a":1', "Missing a comma or } after an object member. at offset: 6"),
        ('{"a":[1', "Missing a comma or ] after an array element. at offset: 7"),
        ('{"a":[1,]}', "Invalid value. at offset: 8"),
        ('{"a":"x', "Missing a closing quotation mark in string. at offset: 5"),
        ('{"a":"\\x"}', "Invalid escape character in string. at offset: 6"),
        ('{"a":1e}', "Miss exponent in number. at offset: 7"),
        ('{"a":1.}', "Miss fraction part in number. at offset: 7"),
        ('{"a":1e999}', "Number too big to be stored in double. at offset: 5"),
    ],
)
def test_broken_json_is_named_with_its_place(predict, body, text):
    answer = predict("half_plus_two", body)

    assert answer.status == 400
    assert answer.error == f"JSON Parse error: {text}"


def test_other_paths_are_not_the_api(call):
    answer = call("GET", "/index.html")

    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(("origin", "status"), [("http://example.test", 200), ("", 400)])
def test_options_needs_an_origin(base_url, origin, status):
    import requests

    found = requests.options(f"{base_url}{HALF}:predict", headers={"Origin": origin} if origin else {}, timeout=30)

    assert found.status_code == status
