"""An HTTP server on the loopback that sends one answer after the other and records the requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["ScriptedServer", "answering"]


@dataclass(slots=True)
class ScriptedServer:
    """The server's address, its answers (status, JSON value or bytes), and the requests."""

    url: str
    answers: list[tuple[int, Any]]
    requests: list[tuple[str, str, Any, str | None]] = field(default_factory=list)


@contextmanager
def answering(*answers: tuple[int, Any]) -> Iterator[ScriptedServer]:
    """Run a server with these answers; the last one again and again."""
    known: list[ScriptedServer] = []

    class ScriptedHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            there = known[0]
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            document = json.loads(body) if body else None
            there.requests.append((self.command, self.path, document, self.headers.get("authorization")))
            status, value = there.answers.pop(0) if len(there.answers) > 1 else there.answers[0]
            sent = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = answer  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), ScriptedHandler) as server:
        server.daemon_threads = True
        known.append(ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}", list(answers)))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield known[0]
        finally:
            server.shutdown()
            thread.join()
