"""Protocol buffers as bytes on the wire, read and written without generated code.

sync must start in a moment and the server must not wait three seconds for TensorFlow's Python half, so neither can use
TensorFlow's message classes for the little that they need of them. What is read here may be hostile: every length is
checked against the bytes that are there, nothing recurses, nothing is allocated from a number in the file.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "FIXED32",
    "FIXED64",
    "LENGTH",
    "VARINT",
    "Field",
    "WireError",
    "delimited",
    "fields",
    "key",
    "signed",
    "varint",
]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, int, memoryview]
"""Field number, wire type, the number (of a varint or fixed field) and the bytes (of a length-delimited field)."""

_EMPTY = memoryview(b"")
_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are no protocol buffer."""


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(at, min(at + _VARINT_BYTES, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, index + 1
        shift += 7
    raise WireError(f"a number that begins at byte {at} has no end")


def fields(data: memoryview | bytes) -> Iterator[Field]:
    """Yield the fields of one message in the order in which they stand.

    Raises:
        WireError: the message is cut off or no message at all.
    """
    data = memoryview(data)
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _read_varint(data, at)
            yield number, kind, value, _EMPTY
            continue
        if kind == LENGTH:
            size, at = _read_varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"field {number} has wire type {kind}")
        if number == 0 or at + size > end:
            raise WireError(f"field {number} is cut off: {size} bytes announced, {end - at} there")
        body = data[at : at + size]
        at += size
        yield number, kind, 0 if kind == LENGTH else int.from_bytes(body, "little"), body


def signed(value: int) -> int:
    """Read a varint as the int64 that it holds."""
    return value - (1 << 64) if value >> 63 else value


def varint(value: int) -> bytes:
    """Write a number (negative: as int64 does, in ten bytes)."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, kind: int) -> bytes:
    """Write a field's tag."""
    return varint(number << 3 | kind)


def delimited(number: int, body: bytes) -> bytes:
    """Write a length-delimited field: a string, bytes or a message."""
    return key(number, LENGTH) + varint(len(body)) + body
