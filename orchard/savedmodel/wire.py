"""Protocol buffers on the wire, read and written without generated code.

TensorFlow's message classes take three seconds to import, which is too slow for sync and the server, and they need only a
few fields. The input may be hostile: every length is checked against the available bytes, there is no recursion, and no
memory is allocated from a number in the file.
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
    "varints",
]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, int, memoryview]
"""Field number, wire type, the number (of a varint or fixed field) and the bytes (of a length-delimited field)."""

_EMPTY = memoryview(b"")
_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are not a valid protocol buffer."""


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for index in range(at, min(at + _VARINT_BYTES, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, index + 1
        shift += 7
    raise WireError(f"the number at byte {at} has no end")


def fields(data: memoryview | bytes) -> Iterator[Field]:
    """Yield the fields of one message in their order. Raises `WireError` if it is truncated or malformed."""
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
            raise WireError(f"field {number} is truncated: it needs {size} bytes, {end - at} are left")
        body = data[at : at + size]
        at += size
        yield number, kind, 0 if kind == LENGTH else int.from_bytes(body, "little"), body


def signed(value: int) -> int:
    """Return the value of a varint as int64."""
    return value - (1 << 64) if value >> 63 else value


def varints(kind: int, value: int, body: memoryview) -> Iterator[int]:
    """Yield the numbers of one field of a repeated number, packed or not."""
    if kind != LENGTH:
        yield value
        return
    at = 0
    while at < len(body):
        number, at = _read_varint(body, at)
        yield number


def varint(value: int) -> bytes:
    """Encode a number (negative: like an int64, in ten bytes)."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, kind: int) -> bytes:
    """Encode a field's tag."""
    return varint(number << 3 | kind)


def delimited(number: int, body: bytes) -> bytes:
    """Encode a length-delimited field: a string, bytes or a message."""
    return key(number, LENGTH) + varint(len(body)) + body
