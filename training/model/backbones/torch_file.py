"""Reads a file of weights that PyTorch saved in its format before 1.6, without PyTorch and without running its pickles.

The file is five pickles (a magic number, the format's version, facts about the machine, the arrays' names and places,
the order of the storages) and then the storages: for each its number of values and the values, little-endian.

A pickle is a program. This reader has an instruction for each opcode that such files need, and three known globals that
are markers, not functions. Any other opcode or global is an error. The values are not copied: arrays are read-only views
of the file's bytes, so that no number in the file can request memory.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchard.errors import IntegrityError

__all__ = ["read_torch_file"]

MAGIC = 0x1950A86A20F9469CFC6C
FORMAT = 1001
MOST_DIMENSIONS = 8

DTYPES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
DICTIONARY, ARRAY = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
GLOBALS = {DICTIONARY, ARRAY, *DTYPES}
"""The names that a pickle may use, as module and name. None is imported."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class KnownGlobal:
    """A global of `GLOBALS` in a pickle."""

    name: str


@dataclass(frozen=True, slots=True)
class StoredValues:
    """A storage: `count` values of a type, by its key."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array's place in a storage; offset and strides count values."""

    values: StoredValues
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Malformed(Exception):
    """The file is not what this reader expects; the text is the end of a sentence."""


def read_torch_file(content: bytes, name: str) -> Arrays:
    """Return the arrays of a file, by their names; read-only views of `content`.

    Args:
        content: the whole file.
        name: of the file, for the message.

    Raises:
        IntegrityError: the file is truncated, has more than the arrays, or uses what this reader does not know.
    """
    try:
        return _read(content)
    except Malformed as error:
        why = str(error)
    except (LookupError, TypeError, ValueError) as error:
        why = f"its pickles are damaged ({type(error).__name__}: {error})"
    raise IntegrityError(
        f"{name} is not a valid file of weights in PyTorch's format before 1.6: {why[:300]}",
        hint="install the package that has the file again; a file of another format cannot be read",
    )


def _read(content: bytes) -> Arrays:
    stream = io.BytesIO(content)
    magic, version, machine, arrays, order = (PickleProgram(stream).run() for _ in range(5))
    if magic != MAGIC:
        raise Malformed("it does not begin with the format's magic number")
    if version != FORMAT:
        raise Malformed(f"its version of the format is not {FORMAT}")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Malformed("its values are not little-endian")
    if not isinstance(arrays, dict) or not all(isinstance(array, StoredArray) for array in arrays.values()):
        raise Malformed("its fourth pickle is not a dictionary of arrays")
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        raise Malformed("its fifth pickle is not a list of storages")
    views = dict(_storages(content, stream.tell(), order, _by_key(arrays)))
    return {name: _view(name, array, views[array.values.key]) for name, array in arrays.items()}


def _by_key(arrays: dict[str, StoredArray]) -> dict[str, StoredValues]:
    found: dict[str, StoredValues] = {}
    for array in arrays.values():
        if found.setdefault(array.values.key, array.values) != array.values:
            raise Malformed(f"two arrays disagree about the storage {array.values.key}")
    return found


def _storages(
    content: bytes, position: int, order: list[str], expected: dict[str, StoredValues]
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The values of each storage; the file must end with the last one."""
    if len(set(order)) != len(order) or set(order) != set(expected):
        raise Malformed("its list of storages is not that of its arrays")
    for key in order:
        values, header = expected[key], content[position : position + 8]
        position += len(header)
        if len(header) < 8 or values.count * values.dtype.itemsize > len(content) - position:
            raise Malformed("it is truncated")
        if int.from_bytes(header, "little", signed=True) != values.count:
            raise Malformed(f"the storage {key} does not have {values.count} values")
        yield key, np.frombuffer(content, values.dtype, values.count, position)
        position += values.count * values.dtype.itemsize
    if position != len(content):
        raise Malformed(f"{len(content) - position} bytes follow the last array")


def _view(name: str, array: StoredArray, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    last = array.offset + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True))
    if math.prod(array.shape) > len(values) or last >= len(values):
        raise Malformed(f"the array {name} is larger than its storage")
    itemsize = values.dtype.itemsize
    strides = [stride * itemsize for stride in array.strides]
    return np.lib.stride_tricks.as_strided(values[array.offset :], array.shape, strides, writeable=False)


class PickleProgram:
    """Runs the next pickle of a stream: a stack, a memo, and `INSTRUCTIONS`, of which none calls or imports anything."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the pickled value."""
        while (opcode := self.read(1)) != b".":
            if opcode not in INSTRUCTIONS:
                raise Malformed(f"it uses the pickle opcode {opcode!r}, which such files do not need")
            read, instruction = INSTRUCTIONS[opcode]
            instruction(self, read(self))
        return self.stack.pop()

    def read(self, count: int) -> bytes:
        """Read so many bytes."""
        found = self.stream.read(count)
        if len(found) < count:
            raise Malformed("it is truncated")
        return found

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def put(self, number: int) -> None:
        """Remember the top of the stack."""
        self.memo[number] = self.stack[-1]

    def get(self, number: int) -> None:
        """Push what is remembered."""
        self.push(self.memo[number])

    def take(self, count: int) -> list[Any]:
        """Remove and return the last values."""
        if count > len(self.stack):
            raise Malformed("a pickle takes more values than it has")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def since_mark(self) -> list[Any]:
        """Remove and return the values since the last mark."""
        return self.take(len(self.stack) - self.marks.pop())

    def set_items(self, values: list[Any]) -> None:
        """Set keys and values, by turns, in the dictionary on the stack."""
        target = self.stack[-1]
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(target, dict) or not isinstance(key, str) or key in target:
                raise Malformed("a key is set where there is no dictionary, is not text or is set twice")
            target[key] = value

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        if not isinstance(self.stack[-1], list):
            raise Malformed("a value is appended where there is no list")
        self.stack[-1].extend(values)

    def find(self, name: str) -> None:
        """Push the marker of a known global."""
        if name not in GLOBALS:
            raise Malformed(f"it names {'.'.join(name.split())}, which is no part of a file of arrays")
        self.push(KnownGlobal(name))

    def find_storage(self) -> None:
        """Push the storage that a persistent id describes: ("storage", type, key, device, number of values, None)."""
        (pid,) = self.take(1)
        kind, known, key, _device, count, _view = pid
        dtype = DTYPES.get(known.name) if isinstance(known, KnownGlobal) else None
        if kind != "storage" or dtype is None or not isinstance(key, str):
            raise Malformed("a storage has an unknown type")
        self.push(StoredValues(key, dtype, _natural(count)))

    def call(self) -> None:
        """Push what a global with its arguments means: an empty dictionary, or an array's place."""
        known, arguments = self.take(2)
        if known == KnownGlobal(DICTIONARY) and arguments == ():
            self.push({})
        elif known == KnownGlobal(ARRAY) and isinstance(arguments, tuple):
            values, offset, shape, strides, _requires_grad, _hooks = arguments
            if not isinstance(values, StoredValues) or len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
                raise Malformed("an array has no storage, or its shape and strides do not match")
            numbers = tuple(_natural(n, least=1) for n in shape), tuple(_natural(n) for n in strides)
            self.push(StoredArray(values, _natural(offset), *numbers))
        else:
            raise Malformed("it calls what is neither an empty dictionary nor an array")


def _natural(value: Any, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise Malformed(f"a size, an offset or a stride is not a number of at least {least}")
    return value


def _nothing(program: PickleProgram) -> None:
    """An opcode without argument."""


def _integer(form: str) -> Callable[[PickleProgram], int]:
    return lambda program: int(struct.unpack(form, program.read(struct.calcsize(form)))[0])


def _long(program: PickleProgram) -> int:
    return int.from_bytes(program.read(program.read(1)[0]), "little", signed=True)


def _text(program: PickleProgram) -> str:
    return program.read(_integer("<I")(program)).decode()


def _two_lines(program: PickleProgram) -> str:
    lines = [program.stream.readline() for _ in range(2)]
    if not all(line.endswith(b"\n") for line in lines):
        raise Malformed("it is truncated")
    return b" ".join(line[:-1] for line in lines).decode()


Instruction = tuple[Callable[[PickleProgram], Any], Callable[[PickleProgram, Any], object]]

INSTRUCTIONS: dict[bytes, Instruction] = {
    b"\x80": (_integer("<B"), lambda program, protocol: None),
    b"(": (_nothing, lambda program, _: program.marks.append(len(program.stack))),
    b"c": (_two_lines, PickleProgram.find),
    b"Q": (_nothing, lambda program, _: program.find_storage()),
    b"R": (_nothing, lambda program, _: program.call()),
    b"b": (_nothing, lambda program, _: program.take(1)),  # metadata about modules: not needed
    b"}": (_nothing, lambda program, _: program.push({})),
    b"]": (_nothing, lambda program, _: program.push([])),
    b")": (_nothing, lambda program, _: program.push(())),
    b"t": (_nothing, lambda program, _: program.push(tuple(program.since_mark()))),
    b"\x85": (_nothing, lambda program, _: program.push(tuple(program.take(1)))),
    b"\x86": (_nothing, lambda program, _: program.push(tuple(program.take(2)))),
    b"\x87": (_nothing, lambda program, _: program.push(tuple(program.take(3)))),
    b"s": (_nothing, lambda program, _: program.set_items(program.take(2))),
    b"u": (_nothing, lambda program, _: program.set_items(program.since_mark())),
    b"a": (_nothing, lambda program, _: program.extend(program.take(1))),
    b"e": (_nothing, lambda program, _: program.extend(program.since_mark())),
    b"N": (_nothing, lambda program, _: program.push(None)),
    b"\x88": (_nothing, lambda program, _: program.push(True)),
    b"\x89": (_nothing, lambda program, _: program.push(False)),
    b"q": (_integer("<B"), PickleProgram.put),
    b"r": (_integer("<I"), PickleProgram.put),
    b"h": (_integer("<B"), PickleProgram.get),
    b"j": (_integer("<I"), PickleProgram.get),
    b"X": (_text, PickleProgram.push),
    b"J": (_integer("<i"), PickleProgram.push),
    b"K": (_integer("<B"), PickleProgram.push),
    b"M": (_integer("<H"), PickleProgram.push),
    b"\x8a": (_long, PickleProgram.push),
}
"""By opcode: how to read its argument and what to do. Whatever is not here is refused."""
