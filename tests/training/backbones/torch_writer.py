"""Writes files as PyTorch did before 1.6, opcode by opcode: a test can then write what PyTorch never would."""

from __future__ import annotations

import pickle
import struct

import numpy as np

from training.model.backbones.torch_file import FORMAT, MAGIC

TYPES = {np.dtype(np.float32): b"FloatStorage", np.dtype(np.int64): b"LongStorage"}
HEAD = [pickle.dumps(MAGIC, 2), pickle.dumps(FORMAT, 2), pickle.dumps({"little_endian": True}, 2)]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def row(values) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def array(key: str, dtype, count: int, shape, strides, offset: int = 0, storage: bytes = b"") -> bytes:
    """The opcodes of one array."""
    kind = storage or b"ctorch\n" + TYPES[np.dtype(dtype)] + b"\n"
    values = b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + b"Nt" + b"Q"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = b"(" + values + number(offset) + row(shape) + row(strides) + b"\x89" + hooks + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def places(described: dict[str, bytes]) -> bytes:
    """The fourth pickle: a dictionary of arrays, with metadata as PyTorch adds it."""
    items = b"".join(text(name) + opcodes for name, opcodes in described.items())
    metadata = b"}" + text("_metadata") + b"}s"
    return b"\x80\x02ccollections\nOrderedDict\n)Rq\x00(" + items + b"u" + metadata + b"b."


def storages(arrays: dict[str, np.ndarray]) -> bytes:
    """The fifth pickle, and the values."""
    order = b"\x80\x02](" + b"".join(text(f"key of {name}") for name in arrays) + b"e."
    return order + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in arrays.values())


def torch_file(arrays: dict[str, np.ndarray]) -> bytes:
    """A whole file."""
    described = {
        name: array(
            f"key of {name}",
            values.dtype,
            values.size,
            values.shape,
            [stride // values.itemsize for stride in values.strides],
        )
        for name, values in arrays.items()
    }
    return b"".join([*HEAD, places(described), storages(arrays)])
