"""Converts JSON values into tensors by TF Serving's rules for every element type, with its error texts.

A valid value is converted a whole level at a time, without a Python loop over elements. Any other value goes through
`_fill`, element by element in TF Serving's order, which raises the first error.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pybase64

from orchard.savedmodel.types import STRING, DataType, data_type
from serving.server.rest.pretty import quote, type_name
from serving.server.runtime.tensors import Array, to_bfloat16
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode

__all__ = ["base64_rows", "count_elements", "dense_tensor", "is_base64", "shape_of", "to_bytes"]

_MAX_RANK = 254
_INT32 = range(-(1 << 31), 1 << 31)
_INTEGERS = {
    **dict.fromkeys(("int32", "int16", "int8", "uint8"), _INT32),
    "int64": range(-(1 << 63), 1 << 63),
    "uint32": range(1 << 32),
    "uint64": range(1 << 64),
}
_FLOAT32 = 1
_FLOATS = ("float", "double", "half", "bfloat16")
"""TF Serving refuses the last two."""


def is_base64(value: Any) -> bool:
    """Whether a JSON value is ``{"b64": "…"}``, which means bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _decode_base64(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        pass
    packed = "".join(text.split())  # white space is allowed; padding may be missing, but must not be wrong
    bare = packed.rstrip("=.")
    padding = -len(bare) % 4
    try:
        if len(packed) - len(bare) not in (0, padding):
            raise ValueError("wrong padding")
        return pybase64.b64decode(bare + "=" * padding, validate=True)
    except (ValueError, binascii.Error) as error:
        raise invalid("Unable to base64 decode") from error


def to_bytes(value: Any) -> bytes:
    """Return the bytes of a string or a ``{"b64": …}``. Raises `ServingError` for any other value."""
    if type(value) is str:
        return value.encode("utf-8", "surrogateescape")
    if not is_base64(value):
        if isinstance(value, dict):
            raise invalid(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
        raise _type_error(value, STRING)
    return _decode_base64(value["b64"])


def _type_error(value: Any, dtype: DataType) -> ServingError:
    return invalid(f"JSON Value: {quote(value)} Type: {type_name(value)} is not of expected type: {dtype.name}")


def _check(value: Any, dtype: DataType) -> Any:
    """Return the element of a leaf. Raises `ServingError` if its type is wrong."""
    if isinstance(value, dict) and dtype is not STRING:
        raise _type_error(value, dtype)
    if dtype is STRING:
        return to_bytes(value)
    kind = type(value)
    if dtype.name in _FLOATS:
        fits = kind in (int, float)
    elif dtype.name in _INTEGERS:
        fits = kind is int and value in _INTEGERS[dtype.name]
    elif dtype.name == "bool":
        fits = kind is bool
    else:
        raise ServingError(StatusCode.UNIMPLEMENTED, f"Conversion of JSON Value: {quote(value)} to type: {dtype.name}")
    if not fits:
        raise _type_error(value, dtype)
    return value


def _numbers(flat: list[Any], dtype: DataType) -> Array:
    if dtype.name == "bfloat16":
        return to_bfloat16(_numbers(flat, data_type(_FLOAT32)))
    if dtype.name in _FLOATS:
        with np.errstate(over="ignore"):  # a double beyond the range of float becomes infinity
            try:
                doubles = np.array(flat, np.float64)
            except OverflowError:  # an integer of hundreds of digits
                doubles = np.array([float(f"{value}") for value in flat], np.float64)
            return doubles.astype(dtype.numpy, copy=False)
    wide = np.array(flat, "uint64" if dtype.name == "uint64" else "int64")
    return wide.astype(dtype.numpy, copy=False)  # wraps around: TF Serving does not check the range of small types


def _convert(flat: list[Any], dtype: DataType) -> Array | None:
    """Convert all leaves at once; None: one of them is invalid."""
    kinds = set(map(type, flat))
    if dtype.name in _FLOATS:
        return _numbers(flat, dtype) if kinds <= {int, float} else None
    if dtype.name in _INTEGERS:
        limits = _INTEGERS[dtype.name]
        fits = kinds <= {int} and (not flat or (min(flat) in limits and max(flat) in limits))
        return _numbers(flat, dtype) if fits else None
    if dtype.name == "bool":
        return np.array(flat, np.bool_) if kinds <= {bool} else None
    if dtype is STRING and kinds <= {str, dict}:
        try:
            return _strings(flat)
        except ServingError:
            return None
    return None


def _strings(flat: list[Any]) -> Array:
    array = np.empty(len(flat), object)
    array[:] = [to_bytes(value) for value in flat]
    return array


def base64_rows(rows: list[Any]) -> Array | None:
    """Convert the most frequent body, ``[{"b64": …}, …]``, in one pass; None: it is another body, or invalid."""
    array = np.empty(len(rows), object)
    try:
        for index, row in enumerate(rows):
            if type(row) is not dict or len(row) != 1:
                return None
            array[index] = pybase64.b64decode(row["b64"], validate=True)
    except (KeyError, TypeError, ValueError):
        return None
    return array


def shape_of(value: Any) -> list[int]:
    """Return the shape of a JSON value, measured at its first elements. Raises `ServingError` if it is too deep."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    if len(shape) > _MAX_RANK:
        raise invalid(f"Encountered list at unexpected level: {_MAX_RANK} expected < {_MAX_RANK}")
    return shape


def _flatten(value: Any, shape: list[int]) -> list[Any] | None:
    """Return the leaves of a value; None: its lists do not have this shape."""
    flat = [value]
    for size in shape:
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
            return None
        flat = list(chain.from_iterable(flat))
        if not flat:
            break
    return None if list in set(map(type, flat)) else flat


def _fill(value: Any, level: int, shape: list[int], dtype: DataType) -> Iterator[Any]:
    """Yield the elements of a value in TF Serving's order. Raises `ServingError` at the first error."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM."
                f" Expected at level: {len(shape)}"
            )
        yield _check(value, dtype)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        yield from _fill(item, level + 1, shape, dtype)


def count_elements(value: Any, dtype: DataType) -> int:
    """Check a value element by element; returns the number of elements.

    Raises:
        ServingError: the first error, in TF Serving's words.
    """
    return sum(1 for _ in _fill(value, 0, shape_of(value), dtype))


def dense_tensor(value: Any, dtype: DataType, explain: Callable[[], None] | None = None) -> Array:
    """Convert a JSON value into a tensor.

    Args:
        value: a scalar, or lists in lists.
        dtype: the element type that the signature declares.
        explain: called if the value is invalid; it raises a more specific error if it can.

    Raises:
        ServingError: the first error, in TF Serving's words.
    """
    shape = shape_of(value)
    flat = _flatten(value, shape)
    array = None if flat is None else _convert(flat, dtype)
    if array is not None:
        return array.reshape(shape)
    if explain:
        explain()
    elements = list(_fill(value, 0, shape, dtype))
    if dtype is STRING:
        return _strings([element.decode("utf-8", "surrogateescape") for element in elements]).reshape(shape)
    return _numbers(elements, dtype).reshape(shape)
