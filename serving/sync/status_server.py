"""The HTTP endpoint of sync: /healthz, /readyz, /metrics and /status."""

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
"""Seconds without a tick after which the loop counts as stuck. A tick waits for nothing but the local engine."""

_REQUEST_S = 5.0


def _timestamp(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def describe(status: SyncStatus) -> dict[str, Any]:
    """Return the document of /status: what is served, why, since when, and what was refused."""
    state, statuses = status.state, status.observed.statuses
    return {
        "model": state.model,
        "ready": status.ready,
        "channels": {
            name: {
                "version": channel.version,
                "generation": channel.generation,
                "why": channel.why,
                "who": channel.who,
                "served": state.labels.get(name),
                "since": _timestamp(state.since.get(name, 0)),
                "live": status.is_live(name),
            }
            for name, channel in sorted(state.channels.items())
        },
        "on_disk": sorted(status.observed.downloaded),
        "engine": {"url": status.engine_url, "versions": None if statuses is None else _versions(statuses)},
        "store": {"name": status.store, "last_success": _timestamp(status.last_success)},
        "problems": status.problems,
        "advice": status.advice,
        "refused": [{**asdict(refusal), "at": _timestamp(refusal.at)} for refusal in state.refused.values()],
    }


def _versions(statuses: Mapping[int, VersionStatus]) -> dict[str, Any]:
    return {
        str(version): {"state": status.state, **({"error": status.error} if status.error else {})}
        for version, status in sorted(statuses.items())
    }


def _render_metrics(status: SyncStatus, metrics: SyncMetrics) -> bytes:
    state = status.state
    metrics.last_success.set(status.last_success)
    metrics.age.set(time.time() - status.last_success if status.last_success else float("inf"))
    metrics.requests.set(status.requests)
    metrics.wanted.replace(((name,), channel.version) for name, channel in state.channels.items())
    metrics.generation.replace(((name,), channel.generation) for name, channel in state.channels.items())
    metrics.served.replace(((channel,), version) for channel, version in state.labels.items())
    metrics.live.replace(((channel,), float(status.is_live(channel))) for channel in state.labels)
    metrics.ready.set(float(status.ready))
    metrics.engine_up.set(float(status.observed.statuses is not None))
    metrics.refused.set(sum(refusal.final for refusal in state.refused.values()))
    return metrics.registry.render()


class _StatusHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _REQUEST_S
    read: Callable[[], SyncStatus]
    metrics: SyncMetrics

    def do_GET(self) -> None:
        """Answer one request."""
        status = self.read()
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            self._send(200, _render_metrics(status, self.metrics), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/healthz":
            healthy = status.silent_s < ALIVE_S
            self._send_json(200 if healthy else 503, {"healthy": healthy, "seconds": round(status.silent_s, 1)})
        elif path == "/readyz":
            self._send_json(200 if status.ready else 503, {"ready": status.ready})
        elif path in ("/", "/status"):
            self._send_json(200, describe(status))
        else:
            self._send_json(
                404, {"error": f"there is no {path[:100]}; there are /healthz, /readyz, /metrics and /status"}
            )

    def _send_json(self, status: int, document: dict[str, Any]) -> None:
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
        """A client that disconnects is not an error."""


class StatusServer:
    """The HTTP endpoint, in daemon threads that end with the process.

    Args:
        listener: a listening socket.
        read: returns the current status.
        metrics: the metrics.
    """

    def __init__(self, listener: socket.socket, read: Callable[[], SyncStatus], metrics: SyncMetrics) -> None:
        handler = type("Handler", (_StatusHandler,), {"read": staticmethod(read), "metrics": metrics})
        self._server = _StatusHttpServer(listener.getsockname()[:2], handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()
