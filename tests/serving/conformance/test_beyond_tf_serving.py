"""What TF Serving refuses or leaves broken, and we answer on purpose; every case is named in serving/README.md.

These tests are ours alone: leave the file out where TF Serving itself is the server.
"""

from __future__ import annotations

import json

import pytest
import requests


def predict_nulls(base_url: str, model: str, body: str, value: str = "null") -> requests.Response:
    headers = {"X-Orchard-Non-Finite": value}
    return requests.post(f"{base_url}/v1/models/{model}:predict", body, headers=headers, timeout=30)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"signature_name": "float32", "inputs": [NaN, Infinity, -Infinity, 1]}', {"outputs": [None, None, None, 1.0]}),
        ('{"signature_name": "float32", "instances": [NaN, 1.5]}', {"predictions": [None, 1.5]}),
        ('{"signature_name": "float64", "instances": [[NaN], [1e300]]}', {"predictions": [[None], [1e300]]}),
        ('{"signature_name": "float16", "inputs": 1e6}', {"outputs": None}),
        ('{"signature_name": "bfloat16", "inputs": NaN}', {"outputs": None}),
        ('{"signature_name": "string", "inputs": "NaN"}', {"outputs": "NaN"}),
    ],
)  # fmt: skip
def test_a_client_that_asks_for_it_gets_null_for_what_json_cannot_say(base_url, body, answer):
    found = predict_nulls(base_url, "types", body)

    def refuse(text: str) -> None:
        raise AssertionError(text)

    assert json.loads(found.content, parse_constant=refuse) == answer


def test_classify_and_regress_have_null_too(base_url):
    body = '{"examples": [{"x": [NaN, 1.0]}]}'
    headers = {"X-Orchard-Non-Finite": "null"}
    url = f"{base_url}/v1/models/examples"

    found = requests.post(f"{url}:classify", body, headers=headers, timeout=30)
    assert found.json() == {"results": [[["nan", None], ["1.0", 2.0]]]}
    found = requests.post(
        f"{url}:regress", body.replace("{", '{"signature_name": "total", ', 1), headers=headers, timeout=30
    )
    assert found.json() == {"results": [None]}


def test_without_the_header_the_answer_is_tf_servings(predict):
    assert (
        predict("types", '{"signature_name": "float32", "instances": [NaN]}').body
        == b'{\n    "predictions": [NaN\n    ]\n}'
    )


def test_another_value_of_the_header_is_refused(base_url):
    found = predict_nulls(base_url, "half_plus_two", '{"instances": [1]}', "zero")

    assert found.status_code == 400
    assert found.json()["error"] == "The header X-Orchard-Non-Finite may only be null, not zero"


@pytest.mark.parametrize(
    ("dtype", "given", "text"),
    [
        ("float16", "[1, -2.5, 0.1]", "[1.0, -2.5, 0.0999756"),
        ("float16", "[65504, 65520, 1e-9, NaN]", "[65504.0, Infinity, 0.0, NaN"),
        ("bfloat16", "[1, -2.5, 0.1]", "[1.0, -2.5, 0.100098"),
        ("bfloat16", "[1.00390625, 1.01171875, 3.4e38, -1e39]", "[1.0, 1.01562, Infinity, -Infinity"),
    ],
)
def test_narrow_floats_are_answered(predict, dtype, given, text):
    found = predict("types", f'{{"signature_name": "{dtype}", "instances": {given}}}')

    assert (found.status, found.body.decode()) == (200, f'{{\n    "predictions": {text}\n    ]\n}}')


def test_every_bfloat16_is_read_and_written_as_itself(predict):
    texts = [
        f"{sign}{mantissa}e{power}" for sign in ("", "-") for mantissa in (1, 1.5, 9.75) for power in range(-30, 30, 7)
    ]
    first = predict("types", f'{{"signature_name": "bfloat16", "inputs": [{", ".join(texts)}]}}').json["outputs"]

    again = predict("types", {"signature_name": "bfloat16", "inputs": first})

    assert again.json["outputs"] == first
    assert all(abs(found - float(text)) <= abs(float(text)) / 256 for found, text in zip(first, texts, strict=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("value", ['"1"', "true", "null", "{}"])
def test_narrow_floats_refuse_other_types(predict, dtype, value):
    found = predict("types", f'{{"signature_name": "{dtype}", "inputs": [{value}]}}')

    assert found.status == 400
    assert f"is not of expected type: {dtype.replace('float16', 'half').replace('bhalf', 'bfloat16')}" in found.error


@pytest.mark.parametrize("body", [{}, {"inputs": {}}, {"inputs": []}])
def test_a_signature_without_inputs_is_answered(predict, body):
    found = predict("counter", {"signature_name": "get_counter", **body})

    assert (found.status, found.json) == (200, {"outputs": 0.0})
