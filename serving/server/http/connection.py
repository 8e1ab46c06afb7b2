"""HTTP connections: parse requests and write responses, in order and within limits.

The limits apply before data is stored: a body with too large a Content-Length is refused by its header, a chunked body is
refused at the limit, and `sweep` closes the connections of slow clients.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Callable

import httptools

from serving.server.http.http_messages import Answer, HttpLimits, HttpRequest, HttpResponse, serialise
from serving.server.rest.responses import error_reply

__all__ = ["HttpConnection", "HttpServer"]

_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WRITE_HIGH = 1 << 20
_LINGER_S = 2.0
_FREQUENT_HEADERS = ("Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Content-Type", "Content-Length")
_HEADER_NAMES = {
    form.encode(): name.lower()
    for name in (*_FREQUENT_HEADERS, "Authorization", "X-Request-Id", "Traceparent")
    for form in (name, name.lower())
}
"""The lower-case names of the most frequent headers, by the usual spellings."""
_UPGRADE_HEADERS = {"upgrade", "connection", "http2-settings"}


class HttpServer:
    """The state that all connections of a process share.

    Args:
        handle: called with each request and the function that answers it.
        limits: the limits of the connections.

    Attributes:
        log: called with each request and its response, after it was written; to be set before the first connection.
    """

    def __init__(self, handle: Callable[[HttpRequest, Answer], None], limits: HttpLimits) -> None:
        self.handle = handle
        self.limits = limits
        self.log: Callable[[HttpRequest, HttpResponse], None] = lambda request, reply: None
        self.connections: set[HttpConnection] = set()
        self.draining = False
        self._ids = itertools.count(1)
        self._prefix = os.urandom(6).hex()

    def connect(self) -> HttpConnection:
        """Return the protocol of a new connection."""
        return HttpConnection(self)

    def new_id(self) -> str:
        """Return a request id that is unique across processes."""
        return f"{self._prefix}-{next(self._ids)}"

    def sweep(self) -> None:
        """Close connections that are idle or too slow; to be called at least once a second."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.check_time(now)

    def drain(self) -> None:
        """Accept no new requests: close idle connections now, and the others after their response."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Abort all connections."""
        for connection in list(self.connections):
            connection.abort()


def _error(status: int, message: str, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(status, error_reply(message), headers=headers, close=True)


class HttpConnection(asyncio.Protocol):
    """The asyncio protocol of one connection; httptools calls the `on_` methods."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[HttpRequest | HttpResponse] = deque()
        self._current: HttpRequest | None = None
        self._refused = False
        self._since = time.monotonic()
        self._stage = "idle"
        self._begin_message()

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._header_total = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._remote = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)  # type: ignore[union-attr]
        self._server.connections.add(self)
        if self._server.draining or len(self._server.connections) > self._limits.connections:
            self._refuse(_error(503, "Too many connections; try again", ("Retry-After", "1")))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected; its running requests finish, and their answers are dropped."""
        self._server.connections.discard(self)
        self._transport = None
        self._pending.clear()

    def data_received(self, data: bytes) -> None:
        """Bytes were received."""
        if self._refused or self._transport is None:
            return  # bytes after a refusal are dropped
        if self._stage == "idle":
            self._stage, self._since = "headers", time.monotonic()
        if self._stage == "headers":
            self._header_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(_error(400, f"Malformed request: {error}"))
        if self._stage == "headers" and self._header_bytes > self._limits.header_bytes and not self._refused:
            self._refuse(_error(431, f"The headers are larger than {self._limits.header_bytes} bytes"))

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Some clients offer HTTP/2 with their first request, and the parser stops there. The offer is not accepted:
            # the request is parsed again without it.
            head = self._head_without_upgrade()
            self._parser = httptools.HttpRequestParser(self)
            if not self._refused:
                self._feed(head + data[upgrade.args[0] :])

    def _head_without_upgrade(self) -> bytes:
        headers = {name: value for name, value in self._headers.items() if name not in _UPGRADE_HEADERS}
        if "close" in self._headers.get("connection", "").lower():
            headers["connection"] = "close"
        lines = [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        return b"\r\n".join([self._parser.get_method() + b" " + self._url + b" HTTP/1.1", *lines, b"", b""])

    def pause_writing(self) -> None:
        """The client does not read its responses: stop reading its requests."""
        if self._transport:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads its responses again."""
        if self._transport and len(self._pending) < self._limits.pipelined:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more; it may still wait for responses."""
        return bool(self._current or self._pending) and self._stage != "linger"

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin_message()
        self._stage, self._since = "headers", time.monotonic()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL was received."""
        self._url += url
        if len(self._url) > self._limits.header_bytes:
            self._refuse(_error(431, f"The URL is longer than {self._limits.header_bytes} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header was received."""
        self._header_total += len(name) + len(value)
        if self._header_total > self._limits.header_bytes:
            self._refuse(_error(431, f"The headers are larger than {self._limits.header_bytes} bytes"))
        self._headers[_HEADER_NAMES.get(name) or name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        """All headers were received: refuse requests before their body is read."""
        self._stage, self._since = "body", time.monotonic()
        limits, headers = self._limits, self._headers
        length = headers.get("content-length", "0")
        if self._parser.get_method() == b"CONNECT":
            self._refuse(_error(400, "Malformed request: CONNECT is not supported"))
        elif headers.get("content-encoding", "identity").lower() != "identity":
            self._refuse(_error(415, "Content-Encoding is not supported: send the body uncompressed"))
        elif headers.get("transfer-encoding", "chunked").lower() != "chunked":
            self._refuse(_error(501, "Transfer-Encoding other than chunked is not supported"))
        elif length.isdigit() and int(length[:20]) > limits.body_bytes:
            self._refuse(_error(413, f"The body is larger than {limits.body_bytes} bytes"))
        elif "expect" in headers:
            if headers["expect"].lower() != "100-continue":
                self._refuse(_error(417, "Expect other than 100-continue is not supported"))
            elif self._transport and not self._current:
                self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A piece of the body was received."""
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._refuse(_error(413, f"The body is larger than {self._limits.body_bytes} bytes"))
        elif not self._refused:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request was received."""
        if self._refused or self._parser.should_upgrade():
            return
        request = self._request()
        self._begin_message()
        self._stage, self._since = "idle", time.monotonic()
        self._enqueue(request)

    def _request(self) -> HttpRequest:
        target = self._url.decode("latin-1")
        path, mark, query = target.partition("?")
        client_id = self._headers.get("x-request-id", "")
        return HttpRequest(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query if mark else None,
            headers=self._headers,
            body=b"".join(self._body) if len(self._body) != 1 else self._body[0],
            remote=self._remote,
            begin=self._since,
            id=client_id if client_id and _ID.fullmatch(client_id) else self._server.new_id(),
            keep_alive=self._parser.should_keep_alive(),
        )

    # answering, in order

    def _enqueue(self, item: HttpRequest | HttpResponse) -> None:
        self._pending.append(item)
        if len(self._pending) >= self._limits.pipelined and self._transport:
            self._transport.pause_reading()
        self._next()

    def _next(self) -> None:
        while self._pending and self._current is None and self._transport:
            item = self._pending.popleft()
            if isinstance(item, HttpResponse):
                self._write(item, None)
                return
            self._current = item
            self._server.handle(item, lambda reply, request=item: self._answer(request, reply))  # type: ignore[misc]
        if self._transport and len(self._pending) < self._limits.pipelined:
            self._transport.resume_reading()

    def _answer(self, request: HttpRequest, reply: HttpResponse) -> None:
        if self._current is not request:
            return  # already answered: it exceeded the timeout
        self._current = None
        if self._transport:
            self._write(reply, request)
        self._server.log(request, reply)
        self._next()

    def _write(self, reply: HttpResponse, request: HttpRequest | None) -> None:
        transport = self._transport
        if transport is None:
            return
        keep_alive = request is not None and request.keep_alive and not reply.close and not self._server.draining
        head = request is not None and request.method == "HEAD"
        request_id = request.id if request else self._server.new_id()
        transport.write(serialise(reply, request_id, head=head, keep_alive=keep_alive))
        if not keep_alive:
            self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Close after the last response. A reset would lose it for a client that still sends: read on for a while."""
        self._pending.clear()
        if self._refused and transport.can_write_eof():
            self._stage, self._since = "linger", time.monotonic()
            transport.write_eof()
        else:
            transport.close()
            self._transport = None

    def _refuse(self, reply: HttpResponse) -> None:
        """Answer the requests before this one, then refuse it and close the connection."""
        if not self._refused:
            self._refused = True
            self._enqueue(reply)

    # time

    def check_time(self, now: float) -> None:
        """Close the connection if the client is idle or too slow."""
        age, limits = now - self._since, self._limits
        if self._stage == "linger":
            if age > _LINGER_S:
                self.abort()
        elif self._stage == "idle" and not self._current and not self._pending and age > limits.idle_s:
            self.abort()
        elif self._stage == "headers" and age > limits.header_s:
            self._refuse(_error(408, f"The headers took longer than {limits.header_s:g} s"))
        elif self._stage == "body" and age > limits.body_s:
            self._refuse(_error(408, f"The body took longer than {limits.body_s:g} s"))

    def close_if_idle(self) -> None:
        """Close the connection if it has no request."""
        if self._transport and not self._current and not self._pending and self._stage == "idle":
            self._transport.close()

    def abort(self) -> None:
        """Abort the connection."""
        if self._transport:
            self._transport.abort()
