"""TF Serving's values: row and column format, element types, base64, the text of numbers."""

from __future__ import annotations

import base64

import pytest


@pytest.mark.parametrize(
    ("model", "body", "answer"),
    [
        ("half_plus_two/versions/123", '{"instances": [1.0, 2.0, 5.0]}', '{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'),
        ("half_plus_two/versions/123", '{"instances": [[1, 2], [3, 4]]}',
         '{\n    "predictions": [[2.5, 3.0], [3.5, 4.0]\n    ]\n}'),
        ("half_plus_two/versions/123", '{"instances": [{"x": 1.0}]}', '{\n    "predictions": [2.5\n    ]\n}'),
        ("half_plus_two/versions/123", '{"inputs": [3.0, 4.0]}', '{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}'),
        ("half_plus_two/versions/123", '{"inputs": {"x": 3}}', '{\n    "outputs": 3.5\n}'),
        ("half_plus_two/versions/123", '{"signature_name": "serving_default", "inputs": [[3.0]]}',
         '{\n    "outputs": [\n        [\n            3.5\n        ]\n    ]\n}'),
        ("half_plus_two/labels/Version_Label", '{"instances": [1.0]}', '{\n    "predictions": [2.5\n    ]\n}'),
        ("half_plus_two", '{"instances": [1.0]}', '{\n    "predictions": [3.5\n    ]\n}'),
        ("HALF_PLUS_TWO", '{"instances": [1.0]}', None),
        ("matrix", '{"instances": [[1, 2, 3, 4]]}', '{\n    "predictions": [[7.0, 10.0]\n    ]\n}'),
        ("module", '{"instances": [1, 2]}', '{\n    "predictions": [3.0, 6.0\n    ]\n}'),
        ("table", '{"instances": [0, 1, 7]}', '{\n    "predictions": ["plum", "apple", "?"\n    ]\n}'),
        ("shapes", '{"instances": [{"a": 1, "b": "x"}]}',
         '{\n    "predictions": [\n        {\n            "b": "x",\n            "double": 2.0\n        }\n    ]\n}'),
        ("shapes", '{"inputs": {"a": [1], "b": ["x"], "more": 5}}',
         '{\n    "outputs": {\n        "b": [\n            "x"\n        ],\n        "double": [\n            2.0\n        ]\n    }\n}'),
        ("shapes", '{"signature_name": "scalar", "inputs": [1, 2]}', '{\n    "outputs": 3.0\n}'),
        ("shapes", '{"signature_name": "bytes", "inputs": ["a\\"\\n"]}',
         '{\n    "outputs": {\n        "out_bytes": [\n            {\n                "b64": "YSIK"\n            }\n        ],\n'
         '        "text": [\n            "a\\"\\n"\n        ]\n    }\n}'),
        ("counter", '{"signature_name": "incr_counter_by", "inputs": 0}', '{\n    "outputs": 0.0\n}'),
    ],
)  # fmt: skip
def test_an_answer_is_laid_out_byte_for_byte(predict, model, body, answer):
    found = predict(model, body)

    if answer is None:
        assert found.status == 404
    else:
        assert (found.status, found.body.decode()) == (200, answer)


@pytest.mark.parametrize(
    ("dtype", "given", "text"),
    [
        ("float32", "0.2", "0.2"),
        ("float32", "1", "1.0"),
        ("float32", "9000000", "9e+06"),
        ("float32", "999999", "999999.0"),
        ("float32", "0.0003", "0.0003"),
        ("float32", "0.00003", "3e-05"),
        ("float32", "555557.5", "555557.5"),
        ("float32", "0.1234567891", "0.123456791"),
        ("float32", "1e39", "Infinity"),
        ("float32", "1e-60", "0.0"),
        ("float32", "-0.0", "-0.0"),
        ("float32", "NaN", "NaN"),
        ("float32", "-Infinity", "-Infinity"),
        ("float32", "Inf", "Infinity"),
        ("float64", "0.1", "0.1"),
        ("float64", "0.1234567891", "0.12345678910000001"),
        ("float64", "1e300", "1e+300"),
        ("int8", "-5", "-5"),
        ("uint8", "300", "44"),
        ("int16", "-32768", "-32768"),
        ("int32", "2147483647", "2147483647"),
        ("int64", "-9223372036854775808", "-9223372036854775808"),
        ("uint32", "4294967295", "4294967295"),
        ("uint64", "18446744073709551615", "18446744073709551615"),
        ("bool", "true", "true"),
        ("string", '"é\\u00e9\\ud83d\\ude00"', '"éé😀"'),
        ("string", '{"b64": "aGVsbG8="}', '"hello"'),
        ("string", '{"b64": "aGVsbG8"}', '"hello"'),
        ("string", '""', '""'),
    ],
)
def test_a_value_comes_back_in_tf_servings_text(predict, dtype, given, text):
    found = predict("types", f'{{"signature_name": "{dtype}", "inputs": [{given}]}}'.encode())

    assert (found.status, found.body.decode()) == (200, f'{{\n    "outputs": [\n        {text}\n    ]\n}}')


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("int32", "1.0"), ("int32", "2147483648"), ("uint8", "-2147483649"), ("int64", "9223372036854775808"),
        ("uint32", "-1"), ("uint64", "18446744073709551616"), ("bool", "1"), ("float32", "true"), ("float32", '"1"'),
        ("float32", "null"), ("string", "1"), ("float32", '{"b64": "aGVsbG8="}'), ("string", "true"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(predict, dtype, given):
    found = predict("types", f'{{"signature_name": "{dtype}", "inputs": [{given}]}}')

    assert found.status == 400
    assert f"is not of expected type: {dtype.replace('float32', 'float').replace('float64', 'double')}" in found.error


@pytest.mark.parametrize("text", ["!", "aGVsbG8===", "a", "aGVs bG8=x=", "é"])
def test_bad_base64_is_refused(predict, text):
    found = predict("types", {"signature_name": "string", "inputs": [{"b64": text}]})

    assert found.status == 400
    assert "Unable to base64 decode" in found.error


def test_an_object_with_more_than_b64_is_no_bytes(predict):
    found = predict("types", {"signature_name": "string", "inputs": [{"b64": "aGk=", "x": 1}]})

    assert found.status == 400
    assert "not formatted correctly for base64 data" in found.error


def test_bytes_of_any_value_pass_through_a_name_that_ends_in_bytes(predict):
    body = bytes(range(256))
    found = predict("shapes", {"signature_name": "bytes", "instances": [{"b64": base64.b64encode(body).decode()}]})

    assert base64.b64decode(found.body.split(b'"b64": "')[1].split(b'"')[0]) == body


def test_shapes_are_the_graphs_matter_not_the_signatures(predict):
    # half_plus_two declares x as [-1, 1] and takes vectors and wider matrices, as the C++ session does
    assert predict("half_plus_two", {"instances": [1.0, 2.0]}).json == {"predictions": [3.5, 4.0]}
    assert predict("half_plus_two", {"instances": [[1.0, 2.0]]}).json == {"predictions": [[3.5, 4.0]]}


def test_what_follows_the_object_is_ignored(predict):
    assert predict("half_plus_two", '{"instances": [1.0]} and more').json == {"predictions": [3.5]}
    assert predict("half_plus_two", '\n {"instances": [1.0]}}').json == {"predictions": [3.5]}


def test_bytes_that_are_no_utf8_are_taken_as_they_are(predict):
    found = predict("types", b'{"signature_name": "string", "inputs": ["a\xffb"]}')

    assert found.status == 200
    assert b'"a\xffb"' in found.body


def test_empty_lists_have_a_shape_too(predict):
    found = predict("types", '{"signature_name": "float32", "inputs": [[], []]}')

    assert found.body == b'{\n    "outputs": [\n        [],\n        []\n    ]\n}'


def test_rows_whose_outputs_do_not_fit_together_are_refused(predict):
    found = predict("shapes", {"signature_name": "uneven", "instances": [1, 2]})

    assert found.status == 400
    assert "has inconsistent batch size" in found.error
    assert predict("shapes", {"signature_name": "uneven", "inputs": [1, 2]}).json["outputs"]["first"] == [1.0]
