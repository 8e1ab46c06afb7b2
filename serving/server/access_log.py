"""The access log: one line for each request of both protocols, except for polls."""

from __future__ import annotations

import threading
import time
from typing import Any

from orchard.request_headers import CHANNEL_HEADER
from serving.http.http_messages import HttpRequest, HttpResponse
from serving.log import EventLog
from serving.status_codes import StatusCode

__all__ = ["AccessLog"]

_MAX_PATH = 256
_MAX_CHANNEL = 64
_MAX_POLLED = 256
_POLLED = ("GetModelStatus", "GetModelMetadata")


class AccessLog:
    """Logs requests.

    sync polls states and labels, Kubernetes polls health and Prometheus polls metrics, many times a minute. A poll (a GET,
    or a call of `GetModelStatus` or `GetModelMetadata`) is logged only when its status changes. gRPC's own health calls
    are never logged.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._failing: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()  # calls of gRPC end in threads of their own

    def _is_new(self, poll: tuple[str, ...], status: int, expected: int) -> bool:
        """Whether the status of a poll differs from the one before; for the first poll, from `expected`."""
        with self._lock:
            if self._failing.get(poll, expected) == status:
                return False
            if len(self._failing) >= _MAX_POLLED:
                self._failing.clear()
            self._failing.pop(poll, None)
            if status != expected:
                self._failing[poll] = status
            return True

    def http(self, request: HttpRequest, reply: HttpResponse) -> None:
        """Log a request of the REST API."""
        path = request.path[:_MAX_PATH]
        if request.method == "GET" and not self._is_new((path,), reply.status, 200):
            return
        fields = {
            "remote": request.remote,
            "method": request.method,
            "path": path,
            "status": reply.status,
            "ms": _milliseconds(request.begin),
            "bytes_in": len(request.body),
            "bytes_out": len(reply.body),
            "request_id": request.id,
            **reply.log_fields,
        }
        if channel := request.headers.get(CHANNEL_HEADER):
            fields["channel"] = channel[:_MAX_CHANNEL]
        self._log.buffer("request", fields)

    def grpc(self, path: str, peer: str, request: Any, answer: Any, begin: float) -> None:
        """Log a call of the gRPC API.

        Args:
            path: the method's path, for example ``/tensorflow.serving.PredictionService/Predict``.
            peer: the client's address in gRPC's format.
            request: the message; None: it was not parsed.
            answer: the message, or the code and the text of the error.
            begin: the monotonic time of the call's arrival.
        """
        code, error = answer if isinstance(answer, tuple) else (StatusCode.OK, "")
        spec = getattr(request, "model_spec", None)
        if path.endswith(_POLLED):
            model = (spec.name[:_MAX_PATH], str(spec.version.value), spec.version_label[:_MAX_PATH]) if spec else ()
            if not self._is_new((path, *model), code, StatusCode.OK):
                return
        fields = {"remote": peer, "method": "GRPC", "path": path, "status": code.name, "ms": _milliseconds(begin)}
        if spec is not None:
            fields["model"] = spec.name[:_MAX_PATH]
            if spec.version_label:  # of the call, or of the channel that its metadata chose
                fields["channel"] = spec.version_label[:_MAX_CHANNEL]
        if error:
            fields["error"] = error[:200]
        elif hasattr(answer, "model_spec"):
            fields["version"] = answer.model_spec.version.value
        self._log.buffer("request", fields)


def _milliseconds(begin: float) -> float:
    return round((time.monotonic() - begin) * 1e3, 2)
