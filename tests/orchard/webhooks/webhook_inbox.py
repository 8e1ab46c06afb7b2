"""A webhook receiver on the loopback: it answers as a test says and keeps what it got."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["InboxMessage", "WebhookInbox", "dripping", "open_inbox"]


@dataclass(frozen=True)
class InboxMessage:
    """A request: its path, headers (names in lower case) and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """The header `webhook-id`."""
        return self.headers["webhook-id"]


@dataclass
class WebhookInbox:
    """The running receiver. `status`, `headers` and `judge` may be changed at any time.

    Attributes:
        url: its address.
        status: of the answers.
        headers: of the answers.
        judge: returns the status of the answer to a request; None: `status`.
        answers: while it is not set, requests are kept and get no answer.
        messages: what it got, in the order of arrival.
    """

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    judge: Callable[[InboxMessage], int] | None = None
    answers: threading.Event = field(default_factory=threading.Event)
    messages: list[InboxMessage] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        """The types of the events that it got, without `orchard.`."""
        return [one.document["type"].removeprefix("orchard.") for one in self.messages]


@contextmanager
def open_inbox(certificate: Path | None = None) -> Iterator[WebhookInbox]:
    """Run a receiver; with a file of certificate and key it speaks TLS."""
    inbox = WebhookInbox()
    inbox.answers.set()

    class InboxHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            message = InboxMessage(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            inbox.messages.append(message)
            inbox.answers.wait(60)
            with suppress(OSError):
                self.send_response(inbox.judge(message) if inbox.judge else inbox.status)
                for name, value in {"content-length": "0", **inbox.headers}.items():
                    self.send_header(name, value)
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    class InboxServer(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that ends a connection."""

    with InboxServer(("127.0.0.1", 0), InboxHandler) as server:
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            scheme = "https"
        inbox.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/events"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield inbox
        finally:
            inbox.answers.set()
            server.shutdown()
            thread.join()


@contextmanager
def dripping(piece: bytes, pause_s: float) -> Iterator[str]:
    """Run a server that answers every connection with the same bytes, again and again, and never ends; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def answer() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    while not over.wait(pause_s):
                        connection.sendall(piece)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            over.set()
            with suppress(OSError):
                socket.create_connection(listener.getsockname(), 1).close()
            thread.join()
