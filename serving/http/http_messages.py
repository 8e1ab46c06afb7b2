"""HTTP requests, responses and limits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache

__all__ = ["HttpLimits", "HttpRequest", "HttpResponse", "append", "error_body", "serialise_head"]

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

_CLOSE, _KEEP_ALIVE = b"Connection: close\r\n", b"Connection: keep-alive\r\n"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of a connection, and of their number.

    Attributes:
        body_bytes: the maximum size of a body.
        header_bytes: the maximum size of the URL, and of all headers together.
        header_s: seconds in which a client must send its headers, or `min_rate` bytes of them for each second.
        body_s: seconds in which it must send its body, or `min_rate` bytes of it for each second.
        send_s: seconds in which it must read its answer, or `min_rate` bytes of it for each second.
        min_rate: bytes a second; a client that stays above it is never too slow, however much it sends or reads.
        idle_s: seconds that a connection may stay open without a request, after the last byte of the last answer.
        connections: the maximum number of open connections.
        pipelined: the maximum number of requests of one connection that wait for the one before.
    """

    body_bytes: int = 16 << 20
    header_bytes: int = 32 << 10
    header_s: float = 10.0
    body_s: float = 60.0
    send_s: float = 120.0
    min_rate: int = 100
    idle_s: float = 120.0
    connections: int = 2048
    pipelined: int = 16


@dataclass(slots=True)
class HttpRequest:
    """One request.

    Attributes:
        method: GET, POST, …
        path: the path as received, without the query.
        query: the text after the question mark; None: there is no question mark.
        headers: by lower-case name; the last value of a header that is repeated. Trailers are dropped.
        body: the body as received.
        remote: the client's address.
        begin: the monotonic time at which its last byte arrived, or the answer before it was written if that was later.
        id: the client's request id, or a new one.
        keep_alive: whether the client keeps the connection open.
        announce: whether it waits for a header that says so: HTTP/1.0 closes by default.
    """

    method: str
    path: str
    query: str | None
    headers: dict[str, str]
    body: bytes | bytearray
    remote: str
    begin: float
    id: str
    keep_alive: bool = True
    announce: bool = False


@dataclass(slots=True)
class HttpResponse:
    """One response.

    Attributes:
        status: the HTTP status.
        body: the body.
        content_type: the type of the body.
        headers: additional headers.
        close: whether to close the connection after it.
        log_fields: additional fields for the access log.
    """

    status: int
    body: bytes | bytearray
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    log_fields: dict[str, object] = field(default_factory=dict)


Answer = Callable[[HttpResponse], None]
"""Called once, in the event loop's thread, with the response to a request."""


class _Date:
    """The value of the Date header, formatted once a second."""

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
    return f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nContent-Type: {content_type}\r\n".encode()


def error_body(message: str) -> bytes:
    """Return the body of an error, in the layout of TF Serving."""
    return json.dumps({"error": message}, indent=4, ensure_ascii=False).encode("utf-8", "surrogateescape")


def append(body: bytes | bytearray, piece: bytes) -> bytearray:
    """Append a piece to a body, in place: joining all pieces at the end would hold up other connections."""
    grown = body if isinstance(body, bytearray) else bytearray(body)
    grown += piece
    return grown


def serialise_head(
    reply: HttpResponse,
    request_id: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    keep_alive: bool,
    announce: bool = False,
) -> bytes:
    """Return the status line and the headers of a response as bytes, with the empty line after them.

    Args:
        reply: the response.
        request_id: the id of its request.
        headers: headers besides those of the response.
        keep_alive: whether the connection stays open.
        announce: whether to say so.
    """
    more = "".join([f"{name}: {value}\r\n" for name, value in (*reply.headers, *headers)]).encode("latin-1")
    return b"%bDate: %b\r\nContent-Length: %d\r\nX-Request-Id: %b\r\n%b%b\r\n" % (
        _opening(reply.status, reply.content_type),
        _Date.now(),
        len(reply.body),
        request_id.encode("latin-1", "replace"),
        more,
        (_KEEP_ALIVE if announce else b"") if keep_alive else _CLOSE,
    )
