"""Example rows, run alone and among others: the answers of a model that keeps rows apart are the same."""

from __future__ import annotations

import itertools
import math
import struct
import time
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from orchard.savedmodel.types import STRING, DataType
from serving.server.batching import MAX_ROWS, BatchQueue, Outputs
from serving.server.runtime.tensors import Array, from_bfloat16, to_bfloat16
from serving.server.serving_error import ServingError

__all__ = ["ProbeFailed", "as_strings", "find_dependence", "generate_rows"]

_ROWS = 5
_ATTEMPTS = tuple(itertools.product((4, 32), (8, 2), ("text", "number", "image")))
"""What to try until the model accepts a row: sizes that it does not declare, the first too large integer, strings."""

_MAX_S = 5.0
"""A slow model runs at least one batch, and others for so many seconds."""

_MAX_BYTES = 64 << 20
"""The size of a batch, except for the first one."""

_WIDE, _NARROW = 1e-3, 2e-2
"""The largest difference between the answers of a row alone and in a batch, relative; of 16-bit floats."""


class ProbeFailed(Exception):
    """The model accepts none of the generated rows."""


def as_strings(values: Sequence[bytes]) -> Array:
    """Return a vector of `bytes` objects."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _image(colour: int) -> bytes:
    """An image of 8 x 8 pixels as a PNG."""
    generator = np.random.default_rng(colour)
    lines = b"".join(b"\0" + generator.integers(0, 256, 24, np.uint8).tobytes() for _ in range(8))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def _strings(count: int, kind: str) -> Array:
    if kind == "image":
        return as_strings([_image(number) for number in range(count)])
    return as_strings(
        [f"{number}.5".encode() if kind == "number" else f"row {number}".encode() for number in range(count)]
    )


def _values(info: TensorInfo, size: int, limit: int, kind: str) -> Array:
    """Return `_ROWS` rows of an input that differ from each other, also in their magnitude."""
    shape = (_ROWS, *[dim.size if dim.size >= 0 else size for dim in (info.shape or ())[1:]])
    count = int(np.prod(shape))
    if info.dtype is STRING:
        return _strings(count, kind).reshape(shape)
    generator = np.random.default_rng(count)
    if info.dtype.name == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if "int" in info.dtype.name:
        return generator.integers(0, limit, shape).astype(info.dtype.numpy)
    scale = np.array([1.0, 0.1, 10.0, 1.0, 3.0]).reshape(-1, *[1] * (len(shape) - 1))
    floats = (generator.normal(size=shape) * scale).astype(np.float32)
    if info.dtype.name == "bfloat16":
        return to_bfloat16(floats)
    numbers: Array = floats.astype(info.dtype.numpy)
    return numbers


def _row_bytes(info: TensorInfo) -> int:
    return info.dtype.size * math.prod(max(dim.size, 1) for dim in (info.shape or ())[1:])


def generate_rows(queue: BatchQueue, signature: SignatureDef) -> list[list[Array]]:
    """Return example rows, each as the values to feed.

    Raises:
        ProbeFailed: the model accepts none.
    """
    infos = [signature.inputs[alias] for alias in queue.inputs]
    if not all(info.dtype is STRING or info.dtype.numpy or info.dtype.name == "bfloat16" for info in infos):
        raise ProbeFailed("no rows of its types can be generated")
    if sum(_row_bytes(info) for info in infos) > _MAX_BYTES:
        raise ProbeFailed("its rows are too large to be generated")
    problem, tried = "", set()
    for attempt in _ATTEMPTS:
        columns = [_values(info, *attempt) for info in infos]
        rows = [[column[number : number + 1] for column in columns] for number in range(_ROWS)]
        key = tuple((column.shape, column.tolist() if column.size < 1000 else "") for column in map(np.ravel, columns))
        if str(key) in tried:
            continue
        tried.add(str(key))
        try:
            for row in rows:
                queue.run(row)
            return rows
        except ServingError as error:
            problem = error.message
    raise ProbeFailed(f"the model accepts no generated rows: {problem[:200]}")


def _mixes(count: int) -> Iterator[tuple[int, ...]]:
    """Yield batches of several sizes, with each row at several places and beside different ones."""
    yield tuple(range(count))
    yield (1, 0)
    yield (count - 1, count - 1, 0)
    yield tuple(-number % count for number in range(MAX_ROWS))


def find_dependence(queue: BatchQueue, rows: Sequence[Sequence[Array]], tolerance: float | None = None) -> str:
    """Run rows alone, twice, and in batches of several sizes.

    Args:
        queue: the signature.
        rows: at least two rows, each as the values to feed.
        tolerance: the largest difference of two answers; default: by their types.

    Returns:
        What differs; "": nothing.

    Raises:
        ServingError: the model fails on a row alone.
    """
    end = time.monotonic() + _MAX_S
    row_bytes = sum(array.nbytes for array in rows[0])
    alone = [queue.run(row) for row in rows]
    if not _is_same(queue.run(rows[0]), 0, alone[0], tolerance):
        return "a row has different answers when it runs twice"
    for place, mix in enumerate(_mixes(len(rows))):
        if place and (time.monotonic() > end or len(mix) * row_bytes > _MAX_BYTES):
            continue
        try:
            together = queue.run([np.concatenate(column) for column in zip(*[rows[n] for n in mix], strict=True)])
        except ServingError as error:
            return f"{len(mix)} rows together fail: {error.message[:200]}"
        for index, number in enumerate(mix):
            if any(array.shape[:1] != (len(mix),) for array, _ in together.values()):
                return f"{len(mix)} rows together do not have as many answers"
            if not _is_same(together, index, alone[number], tolerance):
                return f"the answer for a row differs between alone and among {len(mix)}"
    return ""


def _is_same(together: Outputs, index: int, alone: Outputs, tolerance: float | None) -> bool:
    for alias, (array, dtype) in alone.items():
        batch = together[alias][0]
        if array.shape[:1] != (1,) or batch.shape[1:] != array.shape[1:] or index >= batch.shape[0]:
            return False
        if not _is_close(batch[index], array[0], dtype, tolerance):
            return False
    return True


def _is_close(one: Array, other: Array, dtype: DataType, tolerance: float | None) -> bool:
    if dtype.name == "bfloat16":
        one, other = from_bfloat16(one), from_bfloat16(other)
    elif not dtype.numpy.startswith(("float", "complex")):
        return np.array_equal(one, other)
    limit = tolerance or (_NARROW if dtype.size == 2 else _WIDE)
    largest = float(np.max(np.abs(other[np.isfinite(other)]), initial=0.0)) if np.size(other) else 0.0
    return bool(np.allclose(one, other, rtol=limit, atol=tolerance or limit * largest, equal_nan=True))
