"""Converts TensorProto into arrays and back, by TensorFlow's rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orchard.savedmodel.types import STRING, DataType, data_type
from serving.server.runtime.tensors import Array
from serving.server.serving_error import invalid

__all__ = ["from_proto", "to_proto"]

_MAX_ELEMENTS = 1 << 31
_VARINT_BITS = 7
_MAX_RANK = 254
_INTS = ("int8", "int16", "int32", "uint8", "uint16")
_FIELDS = {
    "float": "float_val", "double": "double_val", "int64": "int64_val", "bool": "bool_val", "uint32": "uint32_val",
    "uint64": "uint64_val", "string": "string_val", "half": "half_val", "bfloat16": "half_val",
    "complex64": "scomplex_val", "complex128": "dcomplex_val", **dict.fromkeys(_INTS, "int_val"),
}  # fmt: skip


class _TensorProblem(Exception):
    """TensorFlow would not parse the tensor."""


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    count = math.prod(shape)
    if proto.tensor_shape.unknown_rank or len(shape) > _MAX_RANK or min(shape, default=0) < 0 or count > _MAX_ELEMENTS:
        raise _TensorProblem
    return shape


def _strings_of(content: bytes, count: int) -> Array:
    """Decode strings from `tensor_content`: their sizes as varints, then their bytes."""
    sizes, at = [], 0
    for _ in range(count):
        size = shift = 0
        while at < len(content):
            byte = content[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += _VARINT_BITS
            if byte < 0x80:
                break
        else:
            raise _TensorProblem
        sizes.append(size)
    if at + sum(sizes) != len(content):
        raise _TensorProblem
    values: Array = np.empty(count, object)
    for index, size in enumerate(sizes):
        values[index] = content[at : at + size]
        at += size
    return values


def _values(proto: Any, dtype: DataType) -> Array:
    """Return the typed values as a flat array of the tensor's type."""
    field = getattr(proto, _FIELDS[dtype.name])
    if dtype.name in ("half", "bfloat16"):
        return np.array(field, np.int64).astype(np.uint16).view(dtype.numpy or "V2")
    if dtype.name in ("complex64", "complex128"):
        parts = np.array(field, np.float32 if dtype.name == "complex64" else np.float64)
        if parts.size % 2:
            raise _TensorProblem
        return parts.view(dtype.numpy)
    wide = np.int64 if field and dtype.name in _INTS else dtype.numpy
    return np.array(field, wide).astype(dtype.numpy, copy=False)


def from_proto(proto: Any, alias: str = "") -> Array:
    """Convert a TensorProto into an array (of `bytes` objects for strings).

    As in TensorFlow, the last value is repeated if there are fewer values than elements, and surplus values are ignored.

    Raises:
        ServingError: INVALID_ARGUMENT, for a tensor that TensorFlow would not parse either; it names the input's alias.
    """
    try:
        return _parse(proto)
    except _TensorProblem:
        raise invalid(f"tensor parsing error: {alias}") from None


def _parse(proto: Any) -> Array:
    dtype, shape = data_type(proto.dtype), _shape(proto)
    count = math.prod(shape)
    if dtype.name not in _FIELDS or dtype.number != proto.dtype:
        raise _TensorProblem
    if proto.tensor_content and count:
        if dtype is STRING:
            return _strings_of(proto.tensor_content, count).reshape(shape)
        if len(proto.tensor_content) != count * dtype.size:
            raise _TensorProblem
        return np.frombuffer(proto.tensor_content, dtype.numpy or f"V{dtype.size}").reshape(shape)
    if dtype is STRING:
        values: Array = np.empty(len(proto.string_val), object)
        values[:] = list(proto.string_val)
    else:
        values = _values(proto, dtype)
    if len(values) >= count:
        return values[:count].reshape(shape)
    last = values[-1:] if len(values) else (np.array([b""], object) if dtype is STRING else np.zeros(1, values.dtype))
    return np.concatenate([values, np.repeat(last, count - len(values))]).reshape(shape)


def to_proto(array: Array, dtype: DataType, proto: Any) -> None:
    """Write an array into the typed field of a TensorProto, as TF Serving does by default."""
    proto.dtype = dtype.number
    proto.tensor_shape.SetInParent()  # a scalar has an empty shape, not none
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = array.reshape(-1)
    field = _FIELDS.get(dtype.name)
    if field is None:
        raise invalid(f"an output of type {dtype.name} cannot be returned")
    if dtype.name in ("half", "bfloat16"):
        flat = flat.view(np.uint16)
    elif dtype.name in ("complex64", "complex128"):
        flat = flat.view(np.float32 if dtype.name == "complex64" else np.float64)
    getattr(proto, field).extend(flat.tolist())
