"""The HTTP endpoint of sync: /healthz, /readyz, /metrics and /status."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from orchard.channel_names import WEIGHTED
from orchard.client import VersionStatus
from serving.http.connection import HttpServer
from serving.http.http_messages import Answer, HttpLimits, HttpRequest, HttpResponse
from serving.listening import BACKLOG
from serving.sync.reconciler import SyncStatus
from serving.sync.routed_weights import routed_weight
from serving.sync.sync_metrics import SyncMetrics

__all__ = ["StatusServer", "describe"]

ALIVE_S = 60.0
"""Seconds without a tick after which the loop counts as stuck. A tick waits for nothing but the local engine."""

_LIMITS = HttpLimits(body_bytes=64 << 10, header_s=5, body_s=5, send_s=30, connections=256)
_TICK_S = 1.0
_METHODS = ("GET", "HEAD")


def _timestamp(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


def describe(status: SyncStatus) -> dict[str, Any]:
    """Return the document of /status: what is served, why, since when, and what was refused.

    Its weights are the shares of the traffic in percent that a router may give now; null: unknown, what it gave before.
    """
    state, statuses, pointers = status.state, status.observed.statuses, status.observed.pointers
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
                "weight": pointers[name].weight if name in pointers else None,
            }
            for name, channel in sorted(state.channels.items())
        },
        "weights": {name: routed_weight(name, state, status.observed) for name in WEIGHTED},
        "on_disk": sorted(status.observed.downloaded),
        "engine": {"url": status.engine_url, "versions": None if statuses is None else _versions(statuses)},
        "store": {"name": status.store, "last_success": _timestamp(status.last_success)},
        "problems": status.problems,
        "advice": status.advice,
        "refused": [_refusal(status, digest) for digest in list(state.refused)],
    }


def _refusal(status: SyncStatus, manifest_sha256: str) -> dict[str, Any]:
    """A refusal, and when it is judged again: null if no channel points to that version, or it is judged now."""
    refusal = status.state.refused[manifest_sha256]
    due = status.observed.timers.judge_at.get(manifest_sha256)
    wanted = any(channel.manifest_sha256 == manifest_sha256 for channel in status.state.channels.values())
    seconds = max(round(due - status.now), 0) if due is not None and wanted and refusal.holds else None
    return {**asdict(refusal), "at": _timestamp(refusal.at), "judged_again_in_s": seconds}


def _versions(statuses: Mapping[int, VersionStatus]) -> dict[str, Any]:
    return {
        str(version): {"state": status.state, **({"error": status.error} if status.error else {})}
        for version, status in sorted(statuses.items())
    }


def _render_metrics(status: SyncStatus, metrics: SyncMetrics, accept: str) -> tuple[bytes, str]:
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
    return metrics.registry.page(accept)


def _document(status: int, document: dict[str, Any]) -> HttpResponse:
    return HttpResponse(status, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


class StatusServer:
    """The HTTP endpoint, in a daemon thread that ends with the process.

    Args:
        listener: a listening socket.
        read: returns the current status.
        metrics: the metrics.
    """

    def __init__(self, listener: socket.socket, read: Callable[[], SyncStatus], metrics: SyncMetrics) -> None:
        self._listener = listener
        self._read = read
        self._metrics = metrics
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="status", daemon=True).start()

    async def _serve(self) -> None:
        server = HttpServer(self._handle, _LIMITS)
        self._listener.setblocking(False)
        loop = asyncio.get_running_loop()
        async with await loop.create_server(server.connect, sock=self._listener, backlog=BACKLOG):
            while True:
                await asyncio.sleep(_TICK_S)
                server.sweep()

    def _handle(self, request: HttpRequest, answer: Answer) -> None:
        try:
            answer(self._respond(request))
        except Exception as error:  # an unexpected error must not break the connection's state
            answer(_document(500, {"error": f"{type(error).__name__}: {error}"}))

    def _respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to one request."""
        path = request.path
        if path not in ("/metrics", "/healthz", "/readyz", "/", "/status"):
            known = "/healthz, /readyz, /metrics and /status"
            return _document(404, {"error": f"there is no {path[:100]}; there are {known}"})
        if request.method not in _METHODS:
            refusal = _document(405, {"error": f"{request.method} is not supported here: use GET"})
            refusal.headers = (("Allow", ", ".join(_METHODS)),)
            return refusal
        status = self._read()
        if path == "/metrics":
            return HttpResponse(200, *_render_metrics(status, self._metrics, request.headers.get("accept", "")))
        if path == "/healthz":
            healthy = status.silent_s < ALIVE_S
            return _document(200 if healthy else 503, {"healthy": healthy, "seconds": round(status.silent_s, 1)})
        if path == "/readyz":
            return _document(200 if status.ready else 503, {"ready": status.ready})
        return _document(200, describe(status))
