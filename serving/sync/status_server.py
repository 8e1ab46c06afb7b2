"""What sync answers: /healthz, /readyz, /metrics and /status."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from orchard.client import VersionStatus
from serving.sync.reconciler import SyncStatus
from serving.sync.sync_metrics import SyncMetrics

__all__ = ["StatusServer", "describe"]

ALIVE_S = 60.0
"""Seconds without a turn of the loop after which it is taken for stuck. A turn waits for nothing but the local engine."""

_REQUEST_S = 5.0


def _when(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def describe(status: SyncStatus) -> dict[str, Any]:
    """Describe what is served, why, since when, and what was refused."""
    state, statuses = status.state, status.observed.statuses
    return {
        "model": state.model,
        "ready": status.ready,
        "channels": {
            channel: {
                "version": seen.version,
                "generation": seen.generation,
                "why": seen.why,
                "who": seen.who,
                "served": state.labels.get(channel),
                "since": _when(state.since.get(channel, 0)),
                "live": status.is_live(channel),
            }
            for channel, seen in sorted(state.channels.items())
        },
        "on_disk": sorted(status.observed.downloaded),
        "engine": {"url": status.engine_url, "versions": None if statuses is None else _versions(statuses)},
        "store": {"name": status.store, "last_success": _when(status.last_success)},
        "problems": status.problems,
        "refused": [{**asdict(refusal), "at": _when(refusal.at)} for refusal in state.refused.values()],
    }


def _versions(statuses: Mapping[int, VersionStatus]) -> dict[str, Any]:
    return {
        str(version): {"state": status.state, **({"error": status.error} if status.error else {})}
        for version, status in sorted(statuses.items())
    }


def _measure(status: SyncStatus, instruments: SyncMetrics) -> bytes:
    state = status.state
    instruments.last_success.set(status.last_success)
    instruments.age.set(time.time() - status.last_success if status.last_success else float("inf"))
    instruments.requests.set(status.requests)
    instruments.wanted.replace(((channel,), seen.version) for channel, seen in state.channels.items())
    instruments.generation.replace(((channel,), seen.generation) for channel, seen in state.channels.items())
    instruments.served.replace(((channel,), version) for channel, version in state.labels.items())
    instruments.live.replace(((channel,), float(status.is_live(channel))) for channel in state.labels)
    instruments.ready.set(float(status.ready))
    instruments.engine_up.set(float(status.observed.statuses is not None))
    instruments.refused.set(sum(refusal.final for refusal in state.refused.values()))
    return instruments.registry.render()


class _StatusHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _REQUEST_S
    read: Callable[[], SyncStatus]
    instruments: SyncMetrics

    def do_GET(self) -> None:
        """Answer one request."""
        status = self.read()
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            self._send(200, _measure(status, self.instruments), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/healthz":
            healthy = status.silent_s < ALIVE_S
            self._document(200 if healthy else 503, {"healthy": healthy, "seconds": round(status.silent_s, 1)})
        elif path == "/readyz":
            self._document(200 if status.ready else 503, {"ready": status.ready})
        elif path in ("/", "/status"):
            self._document(200, describe(status))
        else:
            self._document(
                404, {"error": f"there is no {path[:100]}; there are /healthz, /readyz, /metrics and /status"}
            )

    def _document(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n", "application/json")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes are not logged."""


class _StatusHttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""


class StatusServer:
    """The HTTP endpoint, in threads of its own that end with the process.

    Args:
        listener: a listening socket.
        read: returns what sync knows now.
        instruments: the metrics.
    """

    def __init__(self, listener: socket.socket, read: Callable[[], SyncStatus], instruments: SyncMetrics) -> None:
        handler = type("Handler", (_StatusHandler,), {"read": staticmethod(read), "instruments": instruments})
        self._server = _StatusHttpServer(listener.getsockname()[:2], handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()
