"""The server's own HTTP connections over an echo, in this process: for tests of connections alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.http.connection import HttpServer
from serving.http.http_messages import Answer, HttpLimits, HttpRequest, HttpResponse

__all__ = ["GET", "LIMITS", "echo", "exchange", "heads", "listening", "run"]

LIMITS = HttpLimits(
    body_bytes=1000, header_bytes=500, header_s=0.2, body_s=0.2, min_rate=400, idle_s=0.4, connections=3, pipelined=2
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def echo(request: HttpRequest, answer: Answer) -> None:
    """Answer with method, path and body, a moment later; `/N` and a number of bytes: with so many bytes."""
    target = request.path if request.query is None else f"{request.path}?{request.query}"
    body = b"%b %b %b" % (request.method.encode(), target.encode("latin-1"), request.body)
    if request.path.startswith("/bytes/"):
        body = b"x" * int(request.path[7:])
    asyncio.get_running_loop().call_later(0.001, answer, HttpResponse(200, body))


@asynccontextmanager
async def listening(limits: HttpLimits = LIMITS) -> AsyncIterator[tuple[HttpServer, int]]:
    """A server of the echo on a free port, and the port."""
    server = HttpServer(echo, limits)
    accepting = await asyncio.get_running_loop().create_server(server.connect, "127.0.0.1", 0)

    async def sweep() -> None:
        while True:
            server.sweep()
            await asyncio.sleep(0.02)

    sweeping = asyncio.create_task(sweep())
    try:
        yield server, accepting.sockets[0].getsockname()[1]
    finally:
        sweeping.cancel()
        server.abort()
        accepting.close()
        await accepting.wait_closed()


async def exchange(port: int, *pieces: bytes, pause: float = 0.0, end: bool = False) -> bytes:
    """Send pieces and return everything until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause)
    if end:
        writer.write_eof()
    received = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return received


def run(*pieces: bytes, limits: HttpLimits = LIMITS, **options) -> bytes:
    """Send pieces to a server of the echo and return everything until it closes."""

    async def main() -> bytes:
        async with listening(limits) as (_, port):
            return await exchange(port, *pieces, **options)

    return asyncio.run(main())


def heads(received: bytes) -> list[int]:
    """Return the status of each response in what was received."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
