"""Timers of connections: they follow the bytes, in both directions, and never end a transfer that moves."""

from __future__ import annotations

import asyncio
import socket

import pytest

from serving.http.http_messages import HttpLimits
from serving.http.progress import TransferProgress
from tests.serving.server.echo_server import GET, heads, listening, run

SLOW = HttpLimits(header_s=0.2, body_s=0.2, send_s=0.3, min_rate=200, idle_s=0.3)
ANSWER = 8 << 20


def test_a_transfer_that_moves_fast_enough_never_stalls():
    progress = TransferProgress(0.0, 0)

    assert not any(progress.has_stalled(second, second * 100, 10, 100) for second in range(1000))


@pytest.mark.parametrize("rate", [0, 1, 50, 99])
def test_a_transfer_that_is_too_slow_stalls_at_the_end_of_its_time(rate):
    progress = TransferProgress(0.0, 0)

    stalled = [second for second in range(30) if progress.has_stalled(second, second * rate, 10, 100)]

    assert stalled[0] == 11


def test_a_transfer_that_stops_stalls_although_it_was_fast():
    progress = TransferProgress(0.0, 0)

    stalled = [second for second in range(60) if progress.has_stalled(second, min(second, 20) * 10_000, 10, 100)]

    assert stalled[0] == 31


def test_a_client_that_sends_steadily_is_not_cut():
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 400\r\n\r\n"

    received = run(head, *[b"x" * 10] * 40, limits=SLOW, pause=0.03)  # 1.2 s, six times body_s

    assert heads(received) == [200]
    assert received.endswith(b"x" * 400)


def test_a_client_that_stops_sending_is_cut_however_much_it_has_sent():
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"

    assert heads(run(head, b"x" * 1_000_000, limits=SLOW)) == [408]


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with small buffers, so that the server notices what the client has not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=client, limit=16 << 10)


async def _read_slowly(reader: asyncio.StreamReader, size: int) -> int:
    """Read an answer of `size` bytes and its head in 50 pieces with pauses, one second in all."""
    received = len(await reader.readuntil(b"\r\n\r\n"))
    for _ in range(50):
        received += len(await asyncio.wait_for(reader.readexactly(size // 50), 10))
        await asyncio.sleep(0.02)
    return received + len(await reader.readexactly(size % 50))


CLOSED = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def _large(request_text: bytes) -> bytes:
    return request_text.replace(b"GET /", b"GET /bytes/%d" % ANSWER)


@pytest.mark.parametrize("eof", [False, True], ids=["", "half closed"])
@pytest.mark.parametrize("request_text", [GET, CLOSED], ids=["keep-alive", "close"])
def test_a_client_that_reads_steadily_gets_its_whole_answer(request_text, eof):
    async def main() -> bytes:
        async with listening(SLOW) as (_, port):
            reader, writer = await _connect(port)
            writer.write(_large(request_text))
            if eof:
                writer.write_eof()
            assert await _read_slowly(reader, ANSWER) > ANSWER
            rest = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return rest

    assert asyncio.run(main()) == b""


@pytest.mark.parametrize("request_text", [GET, CLOSED], ids=["keep-alive", "close"])
def test_a_client_that_reads_nothing_is_let_go(request_text):
    async def main() -> int:
        async with listening(SLOW) as (server, port):
            _, writer = await _connect(port)
            writer.transport.pause_reading()
            writer.write(_large(request_text))
            async with asyncio.timeout(10):
                while not server.connections:
                    await asyncio.sleep(0.01)
                while server.connections:
                    await asyncio.sleep(0.01)
            writer.close()
            return len(server.connections)

    assert asyncio.run(main()) == 0


def test_idle_time_begins_after_the_last_byte_of_the_answer():
    async def main() -> bytes:
        async with listening(SLOW) as (_, port):
            reader, writer = await _connect(port)
            writer.write(_large(GET))
            await _read_slowly(reader, ANSWER)  # three times idle_s
            writer.write(GET)
            received = await asyncio.wait_for(reader.readuntil(b"GET / "), 5)
            writer.close()
            return received

    assert heads(asyncio.run(main())) == [200]


def test_a_client_that_is_not_read_from_is_not_slow():
    """The server stops to read while its answer is not read: here in the middle of the next request."""

    async def main() -> bytes:
        limits = HttpLimits(header_s=0.2, body_s=0.2, send_s=5)
        async with listening(limits) as (_, port):
            reader, writer = await _connect(port)
            writer.write(_large(GET))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
            await asyncio.sleep(0.6)
            await reader.readexactly(ANSWER)
            writer.write(b"def" + GET)
            received = await asyncio.wait_for(reader.readuntil(b"GET / "), 5)
            writer.close()
            return received

    received = asyncio.run(main())
    assert heads(received) == [200, 200]
    assert b"POST / abcdef" in received


def test_draining_lets_a_slow_reader_finish():
    async def main() -> int:
        async with listening(SLOW) as (server, port):
            reader, writer = await _connect(port)
            writer.write(_large(GET))
            async with asyncio.timeout(10):
                while not any(connection._written for connection in server.connections):
                    await asyncio.sleep(0.01)
            server.drain()
            received = await _read_slowly(reader, ANSWER)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            return received

    assert asyncio.run(main()) > ANSWER
