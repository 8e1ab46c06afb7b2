"""Clients that send too much, too slowly, or malformed photos are refused, while others are answered."""

from __future__ import annotations

import base64
import io
import random
import socket
import struct
import threading
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from PIL import Image

from tests.faults.fuzz import fuzz
from tests.serving.conftest import photos, plain_config, server, zoo  # noqa: F401  fixtures
from tests.serving.programs import send_request

HEAD = b"POST /v1/models/matrix:predict HTTP/1.1\r\nHost: x\r\n"
REQUEST = {"instances": [[1, 2, 3, 4]]}
ANSWER = {"predictions": [[7.0, 10.0]]}
MIB = 1 << 20


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 99, 200)).save(file, "JPEG")
    return file.getvalue()


def jpeg_with_header(width: int, height: int) -> bytes:
    """A small JPEG whose header names another size."""
    body = bytearray(jpeg())
    at = body.index(b"\xff\xc0") + 5
    body[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(body)


def png_with_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PHOTOS = {
    "empty": b"",
    "no photo": b"\xff\xd8 no photo",
    "cut in its header": jpeg()[:20],
    "65500 squared": jpeg_with_header(65_500, 65_500),
    "20000 squared": jpeg_with_header(20_000, 20_000),
    "no size at all": jpeg_with_header(0, 0),
    "PNG of 100000 squared": png_with_header(100_000, 100_000),
    "PNG of 20000 squared": png_with_header(20_000, 20_000),
    "PNG without rows": png_with_header(10, 0),
    "BMP": b"BM" + bytes(200),
    "GIF cut": b"GIF89a" + struct.pack("<HH", 20_000, 20_000) + bytes(3),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_a_malformed_photo_is_a_400_and_the_next_is_answered(photos, zoo, name):  # noqa: F811
    def predict(body: bytes):
        return photos.predict("m", {"instances": [{"b64": base64.b64encode(body).decode()}]})

    answer = predict(PHOTOS[name])

    assert answer.status == 400, answer.body[:200]
    assert len(answer.body) < 2000
    assert predict((zoo / "photos" / "test_photos" / "0.jpg").read_bytes()).status == 200


def resident_mib(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_hundred_megabytes_are_refused_and_use_no_memory(server, chunked):  # noqa: F811
    before = resident_mib(server.child.pid)
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        length = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 104857600\r\n\r\n"
        with suppress(OSError):  # the server disconnects in the middle
            connection.sendall(HEAD + length)
            for _ in range(100):
                connection.sendall(b"100000\r\n" + bytes(MIB) + b"\r\n" if chunked else bytes(MIB))
        with suppress(OSError):
            received = connection.recv(1 << 16)

    assert received.startswith(b"HTTP/1.1 413 ") or not received, received[:200]
    assert resident_mib(server.child.pid) - before < 80
    assert server.predict("matrix", REQUEST).json == ANSWER


def test_others_are_answered_during_hundreds_of_slow_connections(server):  # noqa: F811
    """Slow loris: connections whose requests never end, in the headers or in the body."""
    starts = [b"POST /v1/mod", HEAD + b"X-Slow: 1", HEAD + b"Content-Length: 100\r\n\r\n{"]
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(300)]
        for index, connection in enumerate(slow):
            connection.sendall(starts[index % len(starts)])
        for turn in range(20):
            for connection in slow[turn::20]:
                connection.sendall(b"1")

            assert server.predict("matrix", REQUEST).json == ANSWER


def test_others_are_answered_while_large_bodies_arrive(server):  # noqa: F811
    """Bodies of the largest allowed size, full of numbers and text that no model accepts."""
    bodies = [
        b'{"instances": [' + b"[1,2,3,4]," * 190_000 + b"[1,2,3]]}",
        b'{"instances": ["' + b"x" * (15 * MIB) + b'"]}',
        b'{"instances": [{"b64": "' + b"A" * (15 * MIB) + b'"}]}',
    ]
    stop = threading.Event()
    statuses: set[int] = set()

    def attack(body: bytes) -> None:
        while not stop.is_set():
            statuses.add(send_request(server.port, "POST", "/v1/models/matrix:predict", body).status)

    attackers = [threading.Thread(target=attack, args=(body,)) for body in bodies]
    for thread in attackers:
        thread.start()
    try:
        for _ in range(30):
            assert server.predict("matrix", REQUEST).json == ANSWER
    finally:
        stop.set()
        for thread in attackers:
            thread.join()
    assert statuses <= {400, 429, 503, 504}, statuses
    assert 400 in statuses


def test_almost_valid_requests_never_get_a_5xx(server):  # noqa: F811
    """A few of the requests that `make fuzz` sends for minutes."""
    seed = random.randrange(1 << 30)  # noqa: S311
    print(f"seed {seed}")

    statuses = fuzz(server, random.Random(seed), seconds=60, limit=1000)  # noqa: S311

    assert statuses["400"] > 100
    assert statuses["200"] > 0
