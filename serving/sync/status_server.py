"""What sync answers: /healthz, /readyz, /metrics and /status."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving.sync.reconciler import Reconciler

__all__ = ["StatusServer", "describe"]

ALIVE_S = 60.0
"""Seconds without a turn of the loop after which it is taken for stuck. A turn waits for nothing but the local engine."""

_REQUEST_S = 5.0


def _when(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def describe(reconciler: Reconciler) -> dict[str, Any]:
    """Say what is served, why, since when, and what was refused."""
    state, follower, problems = reconciler.state, reconciler.follower, list(reconciler.problems.values())
    return {
        "model": state.model,
        "ready": reconciler.is_ready(),
        "channels": _channels(reconciler),
        "on_disk": sorted(reconciler.held),
        "engine": {"url": reconciler.plan.server_url, "versions": _engine(reconciler)},
        "store": {"name": follower.store.name, "last_success": _when(follower.last_success)},
        "problems": {**follower.problems, **({"sync": "; ".join(problems)} if problems else {})},
        "refused": [
            {
                "version": refusal.version,
                "reason": refusal.reason,
                "tries": refusal.tries,
                "final": refusal.final,
                "at": _when(refusal.at),
            }
            for refusal in state.refused.values()
        ],
    }


def _channels(reconciler: Reconciler) -> dict[str, Any]:
    state = reconciler.state
    return {
        channel: {
            "version": seen.version,
            "generation": seen.generation,
            "why": seen.why,
            "who": seen.who,
            "served": state.labels.get(channel),
            "since": _when(state.since.get(channel, 0)),
            "live": channel in state.labels and reconciler.live.get(channel) == state.labels[channel],
        }
        for channel, seen in sorted(state.channels.items())
    }


def _engine(reconciler: Reconciler) -> dict[str, Any] | None:
    if reconciler.statuses is None:
        return None
    return {
        str(version): {"state": status.state, **({"error": status.error} if status.error else {})}
        for version, status in sorted(reconciler.statuses.items())
    }


def _measure(reconciler: Reconciler) -> bytes:
    instruments, state, follower = reconciler.instruments, reconciler.state, reconciler.follower
    instruments.last_success.set(follower.last_success)
    instruments.age.set(time.time() - follower.last_success if follower.last_success else float("inf"))
    instruments.requests.set(follower.requests)
    instruments.wanted.replace(((channel,), seen.version) for channel, seen in state.channels.items())
    instruments.generation.replace(((channel,), seen.generation) for channel, seen in state.channels.items())
    instruments.served.replace(((channel,), version) for channel, version in state.labels.items())
    instruments.live.replace(
        ((channel,), float(reconciler.live.get(channel) == version)) for channel, version in state.labels.items()
    )
    instruments.ready.set(float(reconciler.is_ready()))
    instruments.engine_up.set(float(reconciler.statuses is not None))
    instruments.refused.set(sum(refusal.final for refusal in state.refused.values()))
    return instruments.registry.render()


class _StatusHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _REQUEST_S
    reconciler: Reconciler

    def do_GET(self) -> None:
        """Answer one request."""
        reconciler = self.reconciler
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            self._send(200, _measure(reconciler), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/healthz":
            stuck = time.monotonic() - reconciler.ticked
            self._document(200 if stuck < ALIVE_S else 503, {"healthy": stuck < ALIVE_S, "seconds": round(stuck, 1)})
        elif path == "/readyz":
            ready = reconciler.is_ready()
            self._document(200 if ready else 503, {"ready": ready})
        elif path in ("/", "/status"):
            self._document(200, describe(reconciler))
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
        reconciler: what it tells of.
    """

    def __init__(self, listener: socket.socket, reconciler: Reconciler) -> None:
        handler = type("Handler", (_StatusHandler,), {"reconciler": reconciler})
        self._server = _StatusHttpServer(listener.getsockname()[:2], handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()
