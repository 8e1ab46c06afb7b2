"""Answers as JSON text, in TF Serving's layout.

TF Serving writes NaN, Infinity and -Infinity, which most JSON parsers refuse. With `nulls` they are null.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np
import pybase64

from orchard.savedmodel.types import STRING, DataType
from serving.server.batching import BatchRows, Outputs
from serving.server.rest.numbers import decimal_texts, narrow_texts
from serving.server.rest.pretty import quote_string
from serving.server.runtime.tensors import Array, from_bfloat16
from serving.server.serving_error import invalid

__all__ = [
    "classification_reply",
    "error_reply",
    "leaf_texts",
    "number_texts",
    "predict_reply",
    "regression_reply",
    "row_texts",
    "text_of",
]

_INDENT = "    "
_LABEL = 64
"""Strings of at most this many bytes are mostly class names, which are repeated, so their texts are cached."""
_NON_FINITE = {"NaN", "Infinity", "-Infinity"}
_INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"}


def text_of(value: bytes) -> str:
    """Return a string as JSON text."""
    return _label_text(value) if len(value) <= _LABEL else quote_string(value.decode("utf-8", "surrogateescape"))


@lru_cache(maxsize=1024)
def _label_text(value: bytes) -> str:
    return quote_string(value.decode("utf-8", "surrogateescape"))


def number_texts(flat: Array, *, nulls: bool) -> list[str]:
    """Return the JSON text of each float32 or float64 of a flat array; with `nulls` null instead of NaN and infinities."""
    texts = decimal_texts(flat)
    return ["null" if text in _NON_FINITE else text for text in texts] if nulls else texts


def leaf_texts(alias: str, array: Array, dtype: DataType, indent: str, *, nulls: bool) -> list[str]:
    """Return the JSON text of every element; `indent` is the indentation of an element of several lines."""
    flat = array.reshape(-1)
    if dtype.name in ("float", "double"):
        return number_texts(flat, nulls=nulls)
    if dtype.name in ("half", "bfloat16"):
        texts = narrow_texts(flat.astype(np.float32) if dtype.name == "half" else from_bfloat16(flat))
        return ["null" if text in _NON_FINITE else text for text in texts] if nulls else texts
    if dtype is STRING and alias.endswith("_bytes"):
        inner = indent + _INDENT
        return [f'{{\n{inner}"b64": "{pybase64.b64encode_as_string(value)}"\n{indent}}}' for value in flat]
    if dtype is STRING:
        return [text_of(value) for value in flat.tolist()]
    if dtype.name in _INTEGERS:
        return [str(value) for value in flat.tolist()]
    if dtype.name == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _nest(texts: list[str], shape: tuple[int, ...], indent: str | None) -> Iterator[str]:
    """Yield the text of each element of the first dimension, at an indentation; None: each on one line."""
    if len(shape) == 1:
        yield from texts
        return
    if len(shape) == 2 and indent is None and shape[0] == 1:  # one row of numbers: the most frequent answer
        yield "[" + ", ".join(texts) + "]"
        return
    inner = None if indent is None else indent + _INDENT
    step = len(texts) // shape[0] if shape[0] else 0
    for start in range(0, shape[0] * step, step) if step else (0 for _ in range(shape[0])):
        yield _list(_nest(texts[start : start + step], shape[1:], inner), indent)


def _list(items: Iterator[str], indent: str | None) -> str:
    if indent is None:
        return "[" + ", ".join(items) + "]"
    inner = "\n" + indent + _INDENT
    body = ("," + inner).join(items)
    return f"[{inner}{body}\n{indent}]" if body else "[]"


def _rows(alias: str, array: Array, dtype: DataType, *, named: bool, nulls: bool) -> Iterator[str]:
    depth = (3 if named else 2) + array.ndim - 1
    texts = leaf_texts(alias, array, dtype, _INDENT * depth, nulls=nulls)
    return _nest(texts, array.shape, None)


def _check_rows(outputs: Outputs) -> int:
    batch = -1
    for alias, (array, _) in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {alias} has no shape information ")
        if batch not in (-1, array.shape[0]):
            raise invalid(f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {batch}")
        batch = array.shape[0]
    return batch


@lru_cache(maxsize=256)
def _keys(aliases: tuple[str, ...]) -> list[str]:
    return [f"{_INDENT * 3}{quote_string(alias)}: " for alias in aliases]


def _row_texts(outputs: Outputs, *, nulls: bool = False) -> list[str]:
    """Return the text of each row: a value if there is one output, an object if there are several."""
    named = len(outputs) > 1
    columns = {alias: _rows(alias, array, dtype, named=named, nulls=nulls) for alias, (array, dtype) in outputs.items()}
    if not named:
        (column,) = columns.values()
        return list(column)
    keys = _keys(tuple(columns))
    return [
        _INDENT * 2 + "{\n" + ",\n".join(map(str.__add__, keys, row)) + "\n" + _INDENT * 2 + "}"
        for row in zip(*columns.values(), strict=True)
    ]


_row_texts_with_nulls = partial(_row_texts, nulls=True)
"""One object, because the texts of a batch are cached by the function that makes them."""


def row_texts(outputs: Outputs, *, nulls: bool) -> list[str]:
    """Return the text of each row in the row format: a value if there is one output, an indented object if several.

    Raises:
        ServingError: an output cannot be written as JSON, or the outputs have different numbers of rows.
    """
    make = _row_texts_with_nulls if nulls else _row_texts
    if type(outputs) is BatchRows:
        return outputs.rows_of(make)
    return make(outputs) if _check_rows(outputs) else []


def _row_reply(outputs: Outputs, *, nulls: bool) -> str:
    texts = row_texts(outputs, nulls=nulls)
    if not texts:
        return '{\n    "predictions": []\n}'
    if len(outputs) > 1:
        return '{\n    "predictions": [\n' + ",\n".join(texts) + "\n    ]\n}"
    return '{\n    "predictions": [' + ", ".join(texts) + "\n    ]\n}"


def _column(alias: str, array: Array, dtype: DataType, indent: str, *, nulls: bool) -> str:
    texts = leaf_texts(alias, array, dtype, indent + _INDENT * array.ndim, nulls=nulls)
    return _list(_nest(texts, array.shape, indent + _INDENT), indent) if array.ndim else texts[0]


def _column_reply(outputs: Outputs, *, nulls: bool) -> str:
    if len(outputs) == 1:
        ((alias, (array, dtype)),) = outputs.items()
        return f'{{\n    "outputs": {_column(alias, array, dtype, _INDENT, nulls=nulls)}\n}}'
    inner = _INDENT * 2
    items = (
        f"{inner}{quote_string(alias)}: {_column(alias, array, dtype, inner, nulls=nulls)}"
        for alias, (array, dtype) in outputs.items()
    )
    return '{\n    "outputs": {\n' + ",\n".join(items) + "\n    }\n}"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def predict_reply(outputs: Outputs, *, rows: bool, nulls: bool = False) -> bytes:
    """Return the response of `:predict`.

    Args:
        outputs: arrays and their types, sorted by alias.
        rows: use the row format (`predictions`), not the column format (`outputs`).
        nulls: write null instead of NaN and infinities.

    Raises:
        ServingError: an output cannot be written as JSON, or the outputs have different numbers of rows.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    return _encode(_row_reply(outputs, nulls=nulls) if rows else _column_reply(outputs, nulls=nulls))


def classification_reply(labels: Array | None, scores: Array | None, *, nulls: bool) -> bytes:
    """Return the response of `:classify`, a list of [label, score] for each example; both arrays: [examples, classes]."""
    known = [array for array in (labels, scores) if array is not None]
    rows, classes = known[0].shape
    if not rows:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    names = ['""'] * (rows * classes) if labels is None else [text_of(label) for label in labels.reshape(-1)]
    flat = np.zeros(rows * classes, np.float32) if scores is None else scores.reshape(-1)
    pairs = [f"[{name}, {score}]" for name, score in zip(names, number_texts(flat, nulls=nulls), strict=True)]
    lines = (f"[{', '.join(pairs[row * classes : (row + 1) * classes])}]" for row in range(rows))
    return _encode('{\n    "results": [' + ", ".join(lines) + "\n    ]\n}")


def regression_reply(values: Array, *, nulls: bool) -> bytes:
    """Return the response of `:regress`, one number for each example."""
    if not values.size:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return _encode('{\n    "results": [' + ", ".join(number_texts(values.reshape(-1), nulls=nulls)) + "]\n}")


def error_reply(message: str) -> bytes:
    """Return the response of an error."""
    return _encode(f'{{\n    "error": {quote_string(message)}\n}}')
