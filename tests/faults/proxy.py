"""A TCP proxy in front of an HTTP server that loses one reply, cuts it, or stops in the middle."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Fault", "Proxy", "proxy"]

CHUNK = 1 << 16
_METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


@dataclass(slots=True)
class Fault:
    """What happens to a reply.

    Attributes:
        kind: "drop": the server does the work, the connection closes without the reply; "cut": it closes after
            `after` bytes; "stall": it stays open and silent after `after` bytes; "refuse": the request does not reach
            the server; "lie": the request does not reach the server, and `status` and `body` are the reply.
        request: the beginning of the request's first line, for example ``b"PUT /bucket/key"``.
        times: the number of replies that are affected; None: all.
        after: bytes of the reply, headers included, that are sent.
        status: of a lie.
        body: of a lie.
    """

    kind: Literal["drop", "cut", "stall", "refuse", "lie"]
    request: bytes = b""
    times: int | None = 1
    after: int = 0
    status: int = 200
    body: bytes = b""

    def reply(self) -> bytes:
        """A lie, as HTTP."""
        tag = hashlib.md5(self.body, usedforsecurity=False).hexdigest()
        head = f'HTTP/1.1 {self.status} X\r\nETag: "{tag}"\r\nContent-Length: {len(self.body)}\r\n'
        date = "Last-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n"
        return (head + date).encode() + self.body


@dataclass(slots=True)
class _Connection:
    client: socket.socket
    server: socket.socket
    line: bytes = b""
    fault: Fault | None = None
    passed: int = 0


@dataclass
class Proxy:
    """A running proxy; see `proxy`.

    Attributes:
        port: where it listens on 127.0.0.1.
        target: the server's port there.
        faults: the first that matches a request applies. May be changed at any time.
        requests: the first line of every request.
    """

    target: int
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)

    def _fault_for(self, line: bytes) -> Fault | None:
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if line.startswith(fault.request) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def _start(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._open += [client, server]
                connection = _Connection(client, server)
                self._start(self._requests, connection)
                self._start(self._replies, connection)

    def _requests(self, connection: _Connection) -> None:
        with suppress(OSError):
            while chunk := connection.client.recv(CHUNK):
                if chunk.startswith(_METHODS):
                    connection.line = chunk.split(b"\r\n", 1)[0]
                    connection.passed = 0
                    connection.fault = self._fault_for(connection.line)
                    if connection.fault and connection.fault.kind in ("refuse", "lie"):
                        if connection.fault.kind == "lie":
                            connection.client.sendall(connection.fault.reply())
                        break
                connection.server.sendall(chunk)
        self._disconnect(connection)

    def _replies(self, connection: _Connection) -> None:
        with suppress(OSError):
            while chunk := connection.server.recv(CHUNK):
                fault = connection.fault
                if fault is not None and connection.passed + len(chunk) > fault.after:
                    connection.client.sendall(chunk[: max(0, fault.after - connection.passed)])
                    if fault.kind == "stall":
                        self._closed.wait()
                    break
                connection.client.sendall(chunk)
                connection.passed += len(chunk)
        self._disconnect(connection)

    def _disconnect(self, connection: _Connection) -> None:
        for end in (connection.client, connection.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _close(self, listener: socket.socket) -> None:
        self._closed.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
        for end in self._open:
            end.close()


@contextmanager
def proxy(target: int, *faults: Fault) -> Iterator[Proxy]:
    """Listen on a free port of the loopback and forward everything to the port `target`, with the faults."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = Proxy(target, listener.getsockname()[1], list(faults))
    running._start(running._accept, listener)
    try:
        yield running
    finally:
        running._close(listener)
