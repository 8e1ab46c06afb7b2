"""Envoy's administration on its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

from serving.router.envoy_config import STAT_PREFIX

__all__ = ["EnvoyAdmin"]

_TIMEOUT_S = 5.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class EnvoyAdmin:
    """Requests to a running Envoy.

    Args:
        path: its unix socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def request(self, method: str, path: str) -> str:
        """Return the answer's text. Raises `OSError`: Envoy does not answer, or it refuses."""
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"{method} {path}: {answer.status} {text[:200]}")
        return text

    def port(self) -> int | None:
        """Return the port on which Envoy listens; None: it does not yet."""
        try:
            if self.request("GET", "/ready").strip() != "LIVE":
                return None
            document = json.loads(self.request("GET", "/listeners?format=json"))
        except (OSError, ValueError):
            return None
        for listener in document.get("listener_statuses", ()):
            if listener["name"] == STAT_PREFIX:
                return int(listener["local_address"]["socket_address"]["port_value"])
        return None

    def in_flight(self) -> int:
        """Return how many requests Envoy has not answered yet. Raises `OSError`: it does not answer."""
        name = f"http.{STAT_PREFIX}.downstream_rq_active"
        for line in self.request("GET", f"/stats?filter=^{name}$").splitlines():
            key, _, value = line.partition(": ")
            if key == name:
                return int(value)
        return 0

    def drain(self, *, graceful: bool) -> None:
        """Stop listening: at once, or after Envoy's drain time, in which answers end their connections.

        Raises:
            OSError: Envoy does not answer.
        """
        self.request("POST", "/healthcheck/fail")
        self.request("POST", "/drain_listeners?graceful&skip_exit" if graceful else "/drain_listeners")
