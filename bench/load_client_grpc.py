"""gRPC for the load client: the minimum of HTTP/2 for one call at a time.

gRPC's own Python client takes a quarter of a millisecond per call, on the processors that the server needs too, and so
hides the differences between servers. This client writes the same frames and reads the messages. It ignores the headers
of answers: a failed call has no message, and no message counts as a wrong answer.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable
from typing import Any

from bench.tally import Tally

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_INCREMENT = (1 << 31) - 1 - 65535
_WINDOW_UPDATE_BYTES = 1 << 20
"""Received bytes after which the client sends a window update."""


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body


def _text(value: str) -> bytes:
    """A string as an HPACK literal without Huffman coding; up to 126 bytes."""
    body = value.encode()
    if len(body) > 126:
        raise ValueError(f"a header of {len(body)} bytes is too long for this client")
    return bytes((len(body),)) + body


def header_block(path: str, token: str) -> bytes:
    """A call's headers, as literals without indexing: the bytes are the same for every call."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
    pairs += [("content-type", "application/grpc")]
    pairs += [("authorization", f"Bearer {token}")] if token else []
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def predict_message(model: str, photo: bytes) -> bytes:
    """A PredictRequest with gRPC's five-byte prefix."""
    from serving.protos import message

    request = message("PredictRequest")()
    request.model_spec.name = model
    tensor = request.inputs["image_bytes"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.append(photo)
    body: bytes = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(body)) + body


def read_predict(answer: bytes) -> tuple[str, float]:
    """Label and probability of a PredictResponse; without one: values that never match."""
    from serving.protos import message

    if len(answer) < 5:
        return "", math.nan
    outputs = message("PredictResponse").FromString(answer[5:]).outputs
    tensor = outputs["probability"]
    value = tensor.float_val[0] if tensor.float_val else memoryview(tensor.tensor_content).cast("f")[0]
    return outputs["label"].string_val[0].decode(), value


class GrpcLoadConnection(asyncio.Protocol):
    """A connection that makes one call after the other."""

    def __init__(
        self, tally: Tally, path: str, messages: list[bytes], first: int, done: Callable[[], None], token: str
    ) -> None:
        self.tally, self.messages, self.index, self.done = tally, messages, first, done
        self.block = header_block(path, token)
        self.buffer = b""
        self.answer = b""
        self.stream = -1
        self.taken = 0
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self.transport: Any = transport
        settings = struct.pack(">HIHI", 1, 0, 4, (1 << 31) - 1)  # no header table; the largest window for a stream
        increment = frame(_WINDOW, 0, 0, struct.pack(">I", _WINDOW_INCREMENT))
        transport.write(_PREFACE + frame(_SETTINGS, 0, 0, settings) + increment)  # type: ignore[attr-defined]
        self.call()

    def call(self) -> None:
        """Send the next photo."""
        self.index = (self.index + 7) % len(self.messages)
        self.stream += 2
        self.answer = b""
        head = frame(_HEADERS, _END_HEADERS, self.stream, self.block)
        body = frame(_DATA, _END_STREAM, self.stream, self.messages[self.index])
        self.sent = time.perf_counter()
        self.transport.write(head + body)

    def data_received(self, data: bytes) -> None:
        """Split the data into frames."""
        self.buffer += data
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            stream, body = int.from_bytes(self.buffer[5:9], "big"), self.buffer[9 : 9 + size]
            self.buffer = self.buffer[9 + size :]
            self.handle(kind, flags, stream, body)

    def handle(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        """Handle a frame."""
        if kind == _DATA:
            self.answer += body
            self.taken += len(body)
            if self.taken > _WINDOW_UPDATE_BYTES:
                self.transport.write(frame(_WINDOW, 0, 0, struct.pack(">I", self.taken)))
                self.taken = 0
        elif kind == _SETTINGS and not flags & _ACK:
            self.transport.write(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.transport.write(frame(_PING, _ACK, 0, body))
        elif kind == _GOAWAY:
            self.transport.close()
        ended = kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM)
        if ended and stream == self.stream:
            if self.tally.add(self.index, self.sent, self.answer):
                self.call()
            else:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the connection has ended."""
        self.done()
