"""HTTP connections: parse requests and write responses, in order and within limits.

The limits apply before data is stored: a body with too large a Content-Length is refused by its header, a chunked body is
refused at the limit, and `sweep` closes the connections of clients that send or read too slowly.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import deque
from collections.abc import Callable

import httptools

from serving.http.http_messages import Answer, HttpLimits, HttpRequest, HttpResponse, append, error_body, serialise_head
from serving.http.progress import TransferProgress, queued_bytes
from serving.http.refusals import refuse_body, refuse_head, refuse_syntax
from serving.http.request_head import REQUEST_ID, header_name, split_target, without_upgrade

__all__ = ["HttpConnection", "HttpServer"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WRITE_HIGH = 1 << 20
_COPIED = 16 << 10
"""A body of at most this many bytes is copied behind its head: one piece is cheaper to write than two."""
_LINGER_S = 2.0


class HttpServer:
    """The state that all connections of a process share.

    Args:
        handle: called with each request and the function that answers it.
        limits: the limits of the connections.

    Attributes:
        log: called with each request and its response, after it was written; to be set before the first connection.
        refused: called with the HTTP status of each request that a connection itself has refused.
        refuse_early: returns the answer of a request that waits to send its body, if that is an error already.
        more_headers: returns more headers of the response to a request; None: there are none.
    """

    def __init__(self, handle: Callable[[HttpRequest, Answer], None], limits: HttpLimits) -> None:
        self.handle = handle
        self.limits = limits
        self.log: Callable[[HttpRequest, HttpResponse], None] = lambda request, reply: None
        self.refused: Callable[[int], None] = lambda status: None
        self.refuse_early: Callable[[HttpRequest], HttpResponse | None] = lambda request: None
        self.more_headers: Callable[[HttpRequest], tuple[tuple[str, str], ...]] | None = None
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


class HttpConnection(asyncio.Protocol):
    """The asyncio protocol of one connection; httptools calls the `on_` methods.

    Attributes:
        _stage: what it waits for: `idle` (a request), `headers`, `body`, or `linger` (the client closes).
        _since: the monotonic time at which the stage began; of `idle`: the last time at which an answer was under way.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[tuple[HttpRequest, HttpResponse | None]] = deque()
        self._current: HttpRequest | None = None
        self._refused = self._closing = self._half_closed = False
        self._reading, self._writable = True, True
        self._received = self._written = 0
        self._incoming: TransferProgress | None = None
        self._outgoing: TransferProgress | None = None
        self._since = time.monotonic()
        self._stage = "idle"
        self._begin_message()

    def _begin_message(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._hosts = 0
        self._header_bytes = 0
        self._header_total = 0
        self._body: bytes | bytearray = b""
        self._continue = False
        self._keep_alive = False
        self._version = "1.1"

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._remote = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)  # type: ignore[union-attr]
        self._server.connections.add(self)
        if self._server.draining or len(self._server.connections) > self._limits.connections:
            self._refuse(503, "Too many connections; try again", ("Retry-After", "1"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected; its running requests finish, and their answers are dropped."""
        self._server.connections.discard(self)
        self._transport = None
        self._pending.clear()

    def data_received(self, data: bytes) -> None:
        """Bytes were received."""
        if self._refused or self._closing:
            return  # bytes after a refusal are dropped
        self._received += len(data)
        if self._stage == "headers":
            self._header_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(*refuse_syntax(error))
        if self._stage == "headers" and self._header_bytes > self._limits.header_bytes:
            self._refuse(431, f"The headers are larger than {self._limits.header_bytes} bytes: see --max-headers")
        if self._continue:
            self._write_continue()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Some clients offer HTTP/2 with their first request, and the parser stops there. The offer is not accepted:
            # the request is parsed again without it.
            method = self._parser.get_method()
            head = without_upgrade(method, self._url, self._version, self._headers, keep_alive=self._keep_alive)
            self._parser = httptools.HttpRequestParser(self)
            if not self._refused:
                self._feed(head + data[upgrade.args[0] :])

    def pause_writing(self) -> None:
        """The client does not read its responses: stop reading its requests."""
        self._writable = False
        self._pace()

    def resume_writing(self) -> None:
        """The client reads its responses again."""
        self._writable = True
        self._pace()

    def _pace(self) -> None:
        """Read requests only while there is room for them; a client that is not read is not slow."""
        reading = self._writable and len(self._pending) < self._limits.pipelined
        if reading == self._reading or self._transport is None or self._closing or self._half_closed:
            return
        self._reading = reading
        if reading:
            self._since, self._incoming = time.monotonic(), None
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more; it may still wait for responses."""
        self._half_closed = True
        return bool(self._current or self._pending) and not self._closing

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin_message()
        self._stage, self._since, self._incoming = "headers", time.monotonic(), None

    def on_url(self, url: bytes) -> None:
        """A piece of the URL was received."""
        self._url += url
        if len(self._url) > self._limits.header_bytes:
            self._refuse(431, f"The URL is longer than {self._limits.header_bytes} bytes: see --max-headers")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or, after a chunked body, a trailer was received."""
        self._header_total += len(name) + len(value)
        if self._header_total > self._limits.header_bytes:
            self._refuse(431, f"The headers are larger than {self._limits.header_bytes} bytes: see --max-headers")
        if self._stage == "headers":  # a trailer must not replace a header: RFC 9110, 6.5.1
            key = header_name(name)
            self._headers[key] = value.decode("latin-1").strip()
            if key == "host":
                self._hosts += 1

    def on_headers_complete(self) -> None:
        """All headers were received: refuse requests before their body is read."""
        self._stage, self._since, self._incoming = "body", time.monotonic(), None
        parser, headers = self._parser, self._headers
        self._keep_alive = parser.should_keep_alive()
        if not self._keep_alive or "connection" in headers:  # else it is 1.1, and most requests are
            self._version = parser.get_http_version()
        refusal = refuse_head(parser.get_method(), self._version, headers, self._hosts, self._limits)
        if refusal:
            self._refuse(*refusal)
        elif "expect" in headers and self._version == "1.1":
            early = self._server.refuse_early(self._request())
            if early is None:
                self._continue = True
            else:
                self._refuse_with(early)

    def on_body(self, body: bytes) -> None:
        """A piece of the body was received."""
        self._continue = False
        self._body = append(self._body, body) if self._body else body
        if len(self._body) > self._limits.body_bytes:
            self._body = b""
            self._refuse(*refuse_body(self._limits))

    def on_message_complete(self) -> None:
        """A whole request was received."""
        if self._refused or self._parser.should_upgrade():
            return
        request = self._request()
        self._begin_message()
        self._stage, self._since = "idle", request.begin
        self._enqueue(request, None)

    def _request(self) -> HttpRequest:
        """Return the request as far as it was received."""
        method = self._parser.get_method().decode("latin-1") if self._url else "-"
        path, query = split_target(self._url.decode("latin-1"), method)
        client_id = self._headers.get("x-request-id", "")
        return HttpRequest(
            method=method,
            path=path,
            query=query,
            headers=self._headers,
            body=self._body,
            remote=self._remote,
            begin=time.monotonic(),
            id=client_id if client_id and REQUEST_ID.fullmatch(client_id) else self._server.new_id(),
            keep_alive=self._keep_alive and self._parser.should_keep_alive(),
            announce=self._keep_alive and self._version == "1.0",
        )

    # answering, in order

    def _enqueue(self, request: HttpRequest, refusal: HttpResponse | None) -> None:
        self._pending.append((request, refusal))
        self._next()

    def _next(self) -> None:
        while self._pending and self._current is None and self._transport:
            request, refusal = self._pending.popleft()
            self._current = request
            if refusal:
                self._answer(request, refusal)
                return
            self._server.handle(request, lambda reply, request=request: self._answer(request, reply))  # type: ignore[misc]
        self._pace()
        if self._continue:
            self._write_continue()

    def _answer(self, request: HttpRequest, reply: HttpResponse) -> None:
        if self._current is not request:
            return  # already answered: it exceeded the timeout
        self._current = None
        if self._transport:
            self._write(reply, request)
        self._server.log(request, reply)
        if self._pending:
            self._pending[0][0].begin = time.monotonic()  # it waited for its own client's request, not for the server
        self._next()

    def _write_continue(self) -> None:
        """Let the client send its body, after the answers to the requests before it."""
        if self._transport and not self._current and not self._pending and not self._refused:
            self._continue = False
            self._transport.write(_CONTINUE)

    def _write(self, reply: HttpResponse, request: HttpRequest) -> None:
        transport, server = self._transport, self._server
        if transport is None or self._closing:
            return
        keep_alive = request.keep_alive and not reply.close and not server.draining
        if self._half_closed and not self._pending:
            keep_alive = False
        more = server.more_headers(request) if server.more_headers else ()
        head = serialise_head(reply, request.id, more, keep_alive=keep_alive, announce=request.announce)
        body = b"" if request.method == "HEAD" else reply.body
        if len(body) <= _COPIED:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        self._written += len(head) + len(body)
        if not keep_alive:
            self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Close after the last response. A reset would lose it for a client that still sends: read on for a while."""
        self._pending.clear()
        self._closing = True
        if not (self._refused or self._server.draining) or self._half_closed:
            transport.close()
            return
        self._stage, self._since = "linger", time.monotonic()
        if not self._reading:
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()

    def _refuse(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        """Answer the requests before this one, then refuse it and close the connection."""
        if not self._refused:
            self._refuse_with(
                HttpResponse(status, error_body(message), headers=headers, log_fields={"error": message[:200]})
            )

    def _refuse_with(self, reply: HttpResponse) -> None:
        self._refused, self._continue = True, False
        reply.close = True
        self._server.refused(reply.status)
        self._enqueue(self._request(), reply)

    # time

    def check_time(self, now: float) -> None:
        """Close the connection if the client is idle, or sends or reads too slowly."""
        transport, limits = self._transport, self._limits
        if transport is None:
            return
        unsent = transport.get_write_buffer_size()
        if unsent or (self._stage in ("idle", "linger") and now - self._since > min(_LINGER_S, limits.idle_s)):
            unsent += queued_bytes(transport)
        if unsent:
            moved = self._written - unsent
            if self._outgoing is None:
                self._outgoing = TransferProgress(now, moved)
            elif self._outgoing.has_stalled(now, moved, limits.send_s, limits.min_rate):
                self.abort()
        else:
            self._outgoing = None
        if self._stage in ("idle", "linger"):
            if unsent or self._current or self._pending:
                self._since = now
            elif now - self._since > (_LINGER_S if self._stage == "linger" else limits.idle_s):
                self.abort()
        elif self._reading and not self._refused:
            self._check_incoming(now)

    def _check_incoming(self, now: float) -> None:
        """Check a connection that receives a request."""
        if self._incoming is None:
            self._incoming = TransferProgress(self._since, self._received)
        stage, rate = self._stage, self._limits.min_rate
        seconds = self._limits.header_s if stage == "headers" else self._limits.body_s
        if self._incoming.has_stalled(now, self._received, seconds, rate):
            self._refuse(408, f"The {stage} took longer than {seconds:g} s, at less than {rate} bytes a second")

    def close_if_idle(self) -> None:
        """Close the connection if it has no request."""
        transport = self._transport
        if transport and not self._closing and not self._current and not self._pending and self._stage == "idle":
            if transport.get_write_buffer_size() or queued_bytes(transport):
                self._end(transport)
            else:
                self._closing = True
                transport.close()

    def abort(self) -> None:
        """Abort the connection."""
        if self._transport:
            self._transport.abort()
