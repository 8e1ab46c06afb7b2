"""Properties of JSON requests and responses: values survive parsing and writing unchanged."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.savedmodel.signatures import TensorInfo
from orchard.savedmodel.types import STRING, data_type
from serving.server.batching import BatchRows
from serving.server.rest.numbers import decimal_texts
from serving.server.rest.predict import read_inputs
from serving.server.rest.pretty import quote
from serving.server.rest.request_body import _JsonParser, parse_body
from serving.server.rest.responses import predict_reply
from serving.server.serving_error import ServingError

FLOAT, INT32 = data_type(1), data_type(3)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    ),
    max_leaves=20,
)


def outcome(call, *arguments):
    """What a call returns, or the error that it raises on purpose."""
    try:
        return call(*arguments)
    except ServingError as error:
        return error


@given(VALUES, st.booleans())
def test_the_lenient_parser_reads_what_json_says(value, escape):
    text = json.dumps(value, ensure_ascii=escape)

    assert _JsonParser(text + " more").document() == value
    assert parse_body(json.dumps({"x": value}).encode(), 10_000) == {"x": value}


@given(st.text(max_size=100), st.text(max_size=5))
def test_any_text_is_an_object_or_a_sentence(text, start):
    for body in (text, "{" + text, '{"a":' + text, start + "{}"):
        result = outcome(parse_body, body.encode("utf-8", "surrogatepass"), 10_000)
        assert isinstance(result, dict) or result.message.startswith(("JSON Parse error: ", "JSON Value: "))


@given(VALUES)
def test_a_quotation_is_json_again(value):
    assert json.loads(quote(value)) == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30))
def test_a_float_comes_back_exactly_from_its_text(values):
    array = np.array(values, np.float32)

    texts = decimal_texts(array)

    assert np.array_equal(np.array([float(text) for text in texts], np.float32), array)
    assert all("." in text or "e" in text for text in texts)
    assert all(len(text) <= 16 for text in texts)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30))
def test_a_double_comes_back_exactly_from_its_text(values):
    array = np.array(values, np.float64)

    assert [float(text) for text in decimal_texts(array)] == values


def rule(value: float, kind: type, digits: int) -> str:
    """TF Serving's rule for one number, word for word."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if kind(float(text)) != value:
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else text + ".0"


NUMBERS = st.one_of(
    st.floats(width=32), st.decimals(-(10**9), 10**9, places=3).map(float), st.integers(-(1 << 31), 1 << 31)
)


@given(st.lists(NUMBERS.map(float), min_size=1, max_size=40))
def test_numbers_follow_tf_servings_rule(values):
    with np.errstate(over="ignore"):
        narrow = np.array(values).astype(np.float32)

    assert decimal_texts(narrow) == [rule(value, np.float32, 9) for value in narrow.tolist()]
    assert decimal_texts(np.array(values)) == [rule(value, float, 17) for value in values]


SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=4)


@given(SHAPES, st.booleans())
def test_an_array_comes_back_from_its_answer(shape, rows):
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 3
    body = predict_reply({"y": (array, FLOAT)}, rows=rows)

    result = json.loads(body)["predictions" if rows else "outputs"]

    if array.size or 0 not in shape[:-1]:
        assert np.array_equal(np.array(result, np.float32), array)


@given(SHAPES, st.sampled_from(["", "string", "text_bytes"]), st.data())
def test_rows_of_a_batch_are_answered_as_they_are_alone(shape, second, data):
    shape = (shape[0] + 1, *shape[1:])
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 3
    batch = {"y": (array, FLOAT)}
    if second:
        texts = np.empty(shape[0], object)
        texts[:] = [f'"{index}\n'.encode() * (1 + 40 * (index % 2)) for index in range(shape[0])]
        batch[second] = (texts, STRING)
    cut = data.draw(st.integers(0, shape[0]))
    shared = {}

    for start, end in ((0, cut), (cut, shape[0])):
        if start < end:
            alone = {alias: (result[start:end], dtype) for alias, (result, dtype) in batch.items()}
            for rows in (True, False):
                together = predict_reply(BatchRows(batch, start, end, shared), rows=rows)
                assert together == predict_reply(alone, rows=rows)


@given(SHAPES)
def test_a_nested_list_becomes_the_array_that_it_spells(shape):
    array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    info = {"x": TensorInfo("x:0", INT32, None)}

    columns = read_inputs({"inputs": array.tolist()}, info).tensors["x"]
    assert np.array_equal(columns, array) or array.size == 0
    if shape[0]:
        rows = read_inputs({"instances": array.tolist()}, info).tensors["x"]
        assert np.array_equal(rows, array) or array.size == 0
        named = read_inputs({"instances": [{"x": row} for row in array.tolist()]}, info).tensors["x"]
        assert np.array_equal(named, array) or array.size == 0


@given(VALUES, st.sampled_from([FLOAT, INT32, STRING, data_type(10), data_type(9)]))
def test_any_value_is_a_tensor_or_a_sentence(value, dtype):
    info = {"x": TensorInfo("x:0", dtype, None)}
    for document in (
        {"instances": value},
        {"inputs": value},
        {"instances": [value, value]},
        {"instances": [{"x": value}]},
    ):
        result = outcome(read_inputs, document, info)
        assert (
            result.message if isinstance(result, ServingError) else result.tensors["x"].dtype == (dtype.numpy or object)
        )


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_photos_are_the_same_bytes_in_rows_in_columns_and_with_space_in_them(photos):
    info = {"x": TensorInfo("x:0", STRING, None)}
    texts = [base64.b64encode(photo).decode() for photo in photos]

    def read(document):
        return read_inputs(document, info).tensors["x"].tolist()

    assert read({"instances": [{"b64": text} for text in texts]}) == photos
    assert read({"instances": [{"x": {"b64": text}} for text in texts]}) == photos
    assert read({"inputs": [{"b64": text} for text in texts]}) == photos
    assert read({"instances": [{"b64": " ".join(text)} for text in texts]}) == photos


@pytest.mark.parametrize("row", [{"b64": "?"}, {"b64": "QUJD", "c": 1}, {"b64": 1}, {"c": "QUJD"}, None, 1, ["QUJD"]])
def test_one_row_that_is_no_photo_is_an_error(row):
    with pytest.raises(ServingError):
        read_inputs({"instances": [{"b64": "QUJD"}, row]}, {"x": TensorInfo("x:0", STRING, None)})


def test_ranks_that_tensorflow_would_crash_on_are_refused():
    value: object = 1
    for _ in range(300):
        value = [value]
    with pytest.raises(ServingError):
        read_inputs({"inputs": value}, {"x": TensorInfo("x:0", FLOAT, None)})
