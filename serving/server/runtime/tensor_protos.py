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
_MAX_RANK = 254
_INTS = ("int8", "int16", "int32", "uint8", "uint16")
_FIELDS = {
    "float": "float_val", "double": "double_val", "int64": "int64_val", "bool": "bool_val", "uint32": "uint32_val",
    "uint64": "uint64_val", "string": "string_val", "half": "half_val", "bfloat16": "half_val",
    "complex64": "scomplex_val", "complex128": "dcomplex_val", **dict.fromkeys(_INTS, "int_val"),
}  # fmt: skip


def _shape(proto: Any) -> tuple[int, ...]:
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    count = math.prod(shape)
    if proto.tensor_shape.unknown_rank or len(shape) > _MAX_RANK or min(shape, default=0) < 0 or count > _MAX_ELEMENTS:
        raise invalid("Invalid TensorProto: its shape is not fully known, negative or too large")
    return shape


def _values(proto: Any, dtype: DataType) -> Array:
    """Return the typed values as a flat array of the tensor's type."""
    field = getattr(proto, _FIELDS[dtype.name])
    if dtype.name in ("half", "bfloat16"):
        return np.array(field, np.uint16).view(dtype.numpy or "V2")
    if dtype.name in ("complex64", "complex128"):
        parts = np.array(field, np.float32 if dtype.name == "complex64" else np.float64)
        if parts.size % 2:
            raise invalid("Invalid TensorProto: half of a complex number")
        return parts.view(dtype.numpy)
    wide = np.int64 if field and dtype.name in _INTS else dtype.numpy
    return np.array(field, wide).astype(dtype.numpy, copy=False)


def from_proto(proto: Any) -> Array:
    """Convert a TensorProto into an array (of `bytes` objects for strings).

    If there are fewer values than elements, the last value is repeated, as in TensorFlow.

    Raises:
        ServingError: INVALID_ARGUMENT, for a tensor that TensorFlow would not parse either.
    """
    dtype, shape = data_type(proto.dtype), _shape(proto)
    count = math.prod(shape)
    if dtype.name not in _FIELDS:
        raise invalid(f"Invalid TensorProto: type {dtype.name} cannot be fed")
    if dtype is STRING:
        values: Array = np.empty(len(proto.string_val), object)
        values[:] = list(proto.string_val)
    elif proto.tensor_content:
        if len(proto.tensor_content) != count * dtype.size:
            raise invalid("Invalid TensorProto: tensor_content does not have the size of its shape")
        return np.frombuffer(proto.tensor_content, dtype.numpy or f"V{dtype.size}").reshape(shape)
    else:
        values = _values(proto, dtype)
    if len(values) > count:
        raise invalid("Invalid TensorProto: more values than its shape has elements")
    if len(values) == count:
        return values.reshape(shape)
    last = values[-1:] if len(values) else (np.array([b""], object) if dtype is STRING else np.zeros(1, values.dtype))
    return np.concatenate([values, np.repeat(last, count - len(values))]).reshape(shape)


def to_proto(array: Array, dtype: DataType, proto: Any) -> None:
    """Write an array into the typed field of a TensorProto, as TF Serving does by default."""
    proto.dtype = dtype.number
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
