"""Messages between the server and its JSON process: pickles over a socket, with large buffers beside them, not copied."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

__all__ = ["receive_message", "send_message"]

_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


def send_message(connection: socket.socket, message: Any) -> None:
    """Send an object; arrays of numbers and `pickle.PickleBuffer` go as they are. Raises OSError."""
    buffers: list[pickle.PickleBuffer] = []
    document = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(document), *[buffer.raw() for buffer in buffers]]
    connection.sendall(_COUNT.pack(len(parts)) + b"".join([_LENGTH.pack(part.nbytes) for part in parts]))
    for part in parts:
        connection.sendall(part)


def _receive(connection: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        received = connection.recv_into(rest)
        if not received:
            raise EOFError
        rest = rest[received:]
    return buffer


def receive_message(connection: socket.socket) -> Any:
    """Receive an object. Raises EOFError when the other side has ended, and OSError."""
    (count,) = _COUNT.unpack(_receive(connection, _COUNT.size))
    lengths = [length for (length,) in _LENGTH.iter_unpack(_receive(connection, count * _LENGTH.size))]
    document, *buffers = [_receive(connection, length) for length in lengths]
    return pickle.loads(document, buffers=buffers)  # noqa: S301  the other side is our own child
