"""Answers and quoted values as text, against RapidJSON 1.1.0's `prettywriter.h` and the functions that drive it.

`MakeRowFormatJsonFromTensors`, `MakeColumnarFormatJsonFromTensors`, `AddTensorValues`, `WriteDecimal` and
`MakeJsonFromClassificationResult` of TF Serving's `util/json_tensor.cc` are stated here as they are there, on a writer
that decides about commas and line breaks as `PrettyWriter::PrettyPrefix` does.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from orchard.savedmodel.types import DataType, all_types
from serving.server.rest.pretty import quote, quote_string
from serving.server.rest.responses import classification_reply, predict_reply, regression_reply

TYPES = {dtype.name: dtype for dtype in all_types()}
Outputs = dict[str, tuple[np.ndarray, DataType]]


class PrettyWriter:
    """RapidJSON's writer; `single` is kFormatSingleLineArray."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.levels: list[list[Any]] = []  # [in an array, values so far]
        self.single = False

    def prefix(self) -> None:
        if not self.levels:
            return
        in_array, count = self.levels[-1]
        if in_array:
            if count:
                self.out.append(", " if self.single else ",")
            if not self.single:
                self.out.append("\n" + "    " * len(self.levels))
        elif count % 2:
            self.out.append(": ")
        else:
            self.out.append((",\n" if count else "\n") + "    " * len(self.levels))
        self.levels[-1][1] += 1

    def value(self, text: str) -> None:
        self.prefix()
        self.out.append(text)

    def start(self, opening: str) -> None:
        self.value(opening)
        self.levels.append([opening == "[", 0])

    def end(self) -> None:
        in_array, count = self.levels.pop()
        if count and not (in_array and self.single):
            self.out.append("\n" + "    " * len(self.levels))
        self.out.append("]" if in_array else "}")


def decimal(value: Any, digits: int) -> str:
    if value != value:
        return "NaN"
    if np.isinf(value):
        return "-Infinity" if value < 0 else "Infinity"
    text = f"{float(value):.6g}"
    if type(value)(text) != value:
        text = f"{float(value):.{digits}g}"
    return text if "." in text or "e" in text else text + ".0"


def write_element(writer: PrettyWriter, value: Any, alias: str, dtype: DataType) -> None:
    if dtype.name in ("float", "double"):
        writer.value(decimal(value, 9 if dtype.name == "float" else 17))
    elif dtype.name == "string" and alias.endswith("_bytes"):
        writer.start("{")
        writer.value('"b64"')
        writer.value(f'"{base64.b64encode(value).decode()}"')
        writer.end()
    elif dtype.name == "string":
        writer.value(quote_string(value.decode()))
    else:
        writer.value(str(bool(value)).lower() if dtype.name == "bool" else str(int(value)))


def write_tensor(writer: PrettyWriter, values: Any, alias: str, dtype: DataType) -> None:
    if not isinstance(values, np.ndarray) or not values.ndim:
        write_element(writer, values[()] if isinstance(values, np.ndarray) else values, alias, dtype)
        return
    writer.start("[")
    for item in values:
        write_tensor(writer, item, alias, dtype)
    writer.end()


def row_text(outputs: Outputs) -> str:
    writer = PrettyWriter()
    writer.start("{")
    writer.value('"predictions"')
    writer.start("[")
    for item in range(len(next(iter(outputs.values()))[0])):
        if len(outputs) > 1:
            writer.start("{")
        writer.single = True
        for alias, (array, dtype) in outputs.items():
            if len(outputs) > 1:
                writer.value(quote_string(alias))
            write_tensor(writer, array[item], alias, dtype)
        writer.single = False
        if len(outputs) > 1:
            writer.end()
    writer.end()
    writer.end()
    return "".join(writer.out)


def column_text(outputs: Outputs) -> str:
    writer = PrettyWriter()
    writer.start("{")
    writer.value('"outputs"')
    if len(outputs) > 1:
        writer.start("{")
    for alias, (array, dtype) in outputs.items():
        if len(outputs) > 1:
            writer.value(quote_string(alias))
        write_tensor(writer, array, alias, dtype)
    if len(outputs) > 1:
        writer.end()
    writer.end()
    return "".join(writer.out)


@st.composite
def tensors(draw: st.DrawFn, batch: int | None) -> tuple[np.ndarray, DataType]:
    dtype = TYPES[
        draw(
            st.sampled_from(
                ["float", "double", "int8", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string"]
            )
        )
    ]
    dims = draw(st.lists(st.integers(0, 3), max_size=3))
    shape = tuple(dims) if batch is None else (batch, *dims)
    if dtype.name != "string":
        return draw(arrays.arrays(dtype.numpy, shape)), dtype
    count = int(np.prod(shape))
    flat = np.empty(count, object)
    flat[:] = [text.encode() for text in draw(st.lists(st.text(max_size=5), min_size=count, max_size=count))]
    return flat.reshape(shape), dtype


ALIASES = st.lists(st.sampled_from(["y", "out_bytes", 'a"\n', "é"]), min_size=1, max_size=3, unique=True)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), aliases=ALIASES, batch=st.integers(0, 3))
def test_rows_are_laid_out_as_rapidjson_does(data, aliases, batch):
    outputs = {alias: data.draw(tensors(batch)) for alias in sorted(aliases)}

    assert predict_reply(outputs, rows=True).decode() == row_text(outputs)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), aliases=ALIASES)
def test_columns_are_laid_out_as_rapidjson_does(data, aliases):
    outputs = {alias: data.draw(tensors(None)) for alias in sorted(aliases)}

    assert predict_reply(outputs, rows=False).decode() == column_text(outputs)


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 0), (2, 2), (2, 1, 2)])
@pytest.mark.parametrize("others", [{}, {"y": (np.zeros(2, np.float32), TYPES["float"])}])
def test_bytes_are_objects_at_their_depth(shape, others):
    words = np.empty(shape, object)
    words[...] = b"a\xff"
    batch = {alias: (array[: shape[0]], dtype) for alias, (array, dtype) in others.items()}
    outputs = {"out_bytes": (words, TYPES["string"])} | batch

    assert predict_reply(outputs, rows=True).decode() == row_text(outputs)
    assert predict_reply(outputs, rows=False).decode() == column_text(outputs)


@settings(max_examples=60, deadline=None)
@given(scores=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=3)))
def test_classifications_and_regressions_are_laid_out_as_rapidjson_does(scores):
    writer = PrettyWriter()
    writer.start("{")
    writer.value('"results"')
    writer.start("[")
    for row in scores:
        writer.single = True
        writer.start("[")
        for score in row:
            writer.start("[")
            writer.value('""')
            writer.value(decimal(score, 9))
            writer.end()
        writer.end()
        writer.single = False
    writer.end()
    writer.end()
    assert classification_reply(None, scores, nulls=False).decode() == "".join(writer.out)

    writer = PrettyWriter()
    writer.start("{")
    writer.value('"results"')
    writer.single = True
    writer.start("[")
    for score in scores[:, 0]:
        writer.value(decimal(score, 9))
    writer.end()
    writer.end()
    assert regression_reply(scores[:, :1], nulls=False).decode() == "".join(writer.out)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2], "[1,2]"),
        ([[1, 2], [3]], "[[1,2],[3]]"),
        ([], "[]"),
        ({}, "{}"),
        ({"a": [1, "x", None, True]}, '{\n    "a": [1,"x",null,true]\n}'),
        ({"a": {"b": 1}, "c": 2}, '{\n    "a": {\n        "b": 1\n    },\n    "c": 2\n}'),
        ({"b64": 5}, '{\n    "b64": 5\n}'),
        (1.5, "1.5"),
        (3.0, "3.0"),
        (0.1234567891, "0.123456791"),
        (1e39, "1e+39"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (18446744073709551615, "18446744073709551615"),
        ('é"\n\x01', '"é\\"\\n\\u0001"'),
        (None, "null"),
    ],
)  # fmt: skip
def test_a_value_is_quoted_as_in_tf_servings_errors(value, text):
    assert quote(value) == text


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(-1e6, 1e6), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
)


@settings(max_examples=100, deadline=None)
@given(value=st.one_of(st.lists(JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4)))
def test_a_quoted_list_or_object_is_json_of_the_same_value(value):
    assert json.loads(quote(value)) == value


def test_a_quotation_ends_somewhere():
    text = quote(["x" * 100] * 100)

    assert text.endswith("…")
    assert len(text) == 4097
