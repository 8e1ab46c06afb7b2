"""Requests and replies as the HTTP layer hands them over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache

from serving.server.serving_error import REASONS

__all__ = ["HttpLimits", "HttpRequest", "HttpResponse", "serialise"]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may ask for.

    Attributes:
        body_bytes: the largest body.
        header_bytes: the largest request line and headers together.
        header_s: how long a client may take to send its headers.
        body_s: how long it may take to send its body.
        idle_s: how long a connection may stay open without a request.
        connections: how many connections may be open.
        pipelined: how many requests of one connection may wait for the one before.
    """

    body_bytes: int = 16 << 20
    header_bytes: int = 32 << 10
    header_s: float = 10.0
    body_s: float = 60.0
    idle_s: float = 120.0
    connections: int = 2048
    pipelined: int = 16


@dataclass(slots=True)
class HttpRequest:
    """One request.

    Attributes:
        method: GET, POST, …
        path: the path as it came, without the query.
        query: what stood after the question mark, or None without one.
        headers: by lower-case name; of a header that came twice the last.
        body: as it came.
        remote: the client's address.
        begin: the monotonic time at which its first byte was there.
        id: its id, the client's own or a new one.
    """

    method: str
    path: str
    query: str | None
    headers: dict[str, str]
    body: bytes
    remote: str
    begin: float
    id: str
    keep_alive: bool = True


@dataclass(slots=True)
class HttpResponse:
    """One reply.

    Attributes:
        status: the HTTP status.
        body: its body.
        content_type: of the body.
        headers: more of them.
        close: whether the connection ends with it.
        note: what the access log should know besides.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    note: dict[str, object] = field(default_factory=dict)


Answer = Callable[[HttpResponse], None]
"""Called once, in the event loop's thread, with the reply to a request."""


class _Date:
    """The Date header, made once a second."""

    second = 0
    text = b""

    @classmethod
    def now(cls) -> bytes:
        second = int(time.time())
        if second != cls.second:
            cls.second, cls.text = second, formatdate(second, usegmt=True).encode()
        return cls.text


@lru_cache(maxsize=256)
def _opening(status: int, content_type: str) -> bytes:
    return f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\nContent-Type: {content_type}\r\n".encode()


def serialise(reply: HttpResponse, request_id: str, *, head: bool, keep_alive: bool) -> bytes:
    """Write a reply.

    Args:
        reply: what to write.
        request_id: the id of the request that it answers.
        head: leave the body out, as the answer to HEAD must.
        keep_alive: whether the connection stays open.
    """
    more = "".join([f"{name}: {value}\r\n" for name, value in reply.headers]).encode("latin-1")
    return b"%bDate: %b\r\nContent-Length: %d\r\nX-Request-Id: %b\r\n%b%b\r\n%b" % (
        _opening(reply.status, reply.content_type),
        _Date.now(),
        len(reply.body),
        request_id.encode("latin-1", "replace"),
        more,
        b"" if keep_alive else b"Connection: close\r\n",
        b"" if head else reply.body,
    )
