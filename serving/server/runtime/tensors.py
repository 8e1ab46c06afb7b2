"""Tensors between NumPy and TensorFlow's memory.

A string tensor is a NumPy array of `bytes` objects, one of bfloat16, which NumPy does not have, of two bytes each (``V2``).
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchard.savedmodel.types import STRING, DataType, data_type
from serving.server.runtime.capi import CApi, RunError

__all__ = ["Array", "from_bfloat16", "from_tensor", "to_bfloat16", "to_tensor"]

Array = NDArray[Any]
_INVALID_ARGUMENT, _UNIMPLEMENTED, _RESOURCE_EXHAUSTED = 3, 12, 8
_STRING_SIZE = STRING.size


def _allocate(api: CApi, dtype: DataType, shape: tuple[int, ...], size: int) -> int:
    dims = (ctypes.c_int64 * len(shape))(*shape)
    tensor = api.TF_AllocateTensor(dtype.number, dims, len(shape), size)
    if not tensor:
        raise RunError(_RESOURCE_EXHAUSTED, f"out of memory: a tensor of {size} bytes")
    return int(tensor)


def to_bfloat16(array: Array) -> Array:
    """Round floats to the nearest bfloat16, ties to even, as ``V2``."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    kept = np.where(np.isnan(bits.view(np.float32)), bits >> 16 | 0x40, rounded)
    return kept.astype(np.uint16).view("V2").reshape(np.shape(array))


def from_bfloat16(array: Array) -> Array:
    """Convert ``V2`` into float32, exactly."""
    bits = np.ascontiguousarray(array).view(np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32).reshape(np.shape(array))


def to_tensor(api: CApi, array: Array, dtype: DataType) -> int:
    """Copy an array of ``dtype.numpy``, or of `bytes` objects, into a new TF_Tensor, which the caller must delete."""
    if dtype is STRING:
        return _to_strings(api, array)
    body = np.ascontiguousarray(array)
    tensor = _allocate(api, dtype, array.shape, body.nbytes)
    ctypes.memmove(api.TF_TensorData(tensor), body.ctypes.data, body.nbytes)
    return tensor


def _to_strings(api: CApi, array: Array) -> int:
    tensor = _allocate(api, STRING, array.shape, array.size * _STRING_SIZE)
    at = api.TF_TensorData(tensor)
    ctypes.memset(at, 0, array.size * _STRING_SIZE)  # the same as TF_StringInit, for all strings at once
    copy = api.TF_StringCopy
    for value in array.ravel().tolist():
        copy(at, value, len(value))
        at += _STRING_SIZE
    return tensor


def from_tensor(api: CApi, tensor: int) -> tuple[Array, DataType]:
    """Copy a TF_Tensor into an array.

    Raises:
        RunError: UNIMPLEMENTED, if the type has no NumPy equivalent (a resource, a variant).
    """
    dtype = data_type(api.TF_TensorType(tensor))
    shape = tuple(api.TF_Dim(tensor, index) for index in range(api.TF_NumDims(tensor)))
    if dtype is STRING:
        return _from_strings(api, tensor, shape), dtype
    if not dtype.size:
        raise RunError(_UNIMPLEMENTED, f"an output of type {dtype.name} cannot be returned")
    count = math.prod(shape)
    body = ctypes.string_at(api.TF_TensorData(tensor), count * dtype.size) if count else b""
    return np.frombuffer(body, dtype.numpy or f"V{dtype.size}").reshape(shape), dtype


def _from_strings(api: CApi, tensor: int, shape: tuple[int, ...]) -> Array:
    array = np.empty(shape, object)
    flat, at = array.reshape(-1), api.TF_TensorData(tensor)
    pointer, length = api.TF_StringGetDataPointer, api.TF_StringGetSize
    for index in range(flat.size):
        size = length(at)
        flat[index] = ctypes.string_at(pointer(at), size) if size else b""
        at += _STRING_SIZE
    return array
