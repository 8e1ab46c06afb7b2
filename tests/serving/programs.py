"""`orchard serve` and `orchard sync` as real processes, and a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.processes import ChildProcess

__all__ = ["HttpAnswer", "Program", "Serve", "Sync", "raw", "send_request", "until"]

DEADLINE = 60.0
_PORT = re.compile(r' port=(\d+)|"port":(\d+)')


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Wait until `condition` returns something true and return it; the AssertionError of a timeout names `what`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.01)


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


def send_request(
    port: int,
    method: str,
    path: str,
    body: bytes | str | dict | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> HttpAnswer:
    """Send one request over a new connection."""
    if isinstance(body, dict):
        body = json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return HttpAnswer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class Program:
    """A verb that runs until it is stopped; a context manager."""

    def __init__(self, verb: str, *options: str, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._begin = log.stat().st_size if log.exists() else 0
        self.child = ChildProcess([*self.command(verb), *options], environment=environment, log=log)
        self._port = 0

    def command(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "orchard", verb]

    @property
    def text(self) -> str:
        """The lines that it has logged; not the one of which only a part is written yet."""
        logged = self.log.read_bytes()[self._begin :] if self.log.exists() else b""
        return logged[: logged.rfind(b"\n") + 1].decode(errors="replace")

    @property
    def port(self) -> int:
        """The port on which it listens; waits until it listens."""

        def find() -> int:
            if not self.child.running():
                raise AssertionError(f"it ended with {self.child.wait()}:\n{self.text}")
            found = _PORT.search(self.text)
            return int(found[1] or found[2]) if found else 0

        self._port = self._port or until(find, "it listens")
        return self._port

    def send_request(self, method: str, path: str, *rest: Any, **more: Any) -> HttpAnswer:
        return send_request(self.port, method, path, *rest, **more)

    def get(self, path: str) -> HttpAnswer:
        return self.send_request("GET", path)

    def ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """As `kill -9` does."""
        self.child.process.kill()
        self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        self.child.stop(grace=10)


class Serve(Program):
    """`orchard serve` on a free port."""

    def __init__(
        self, config: Path, log: Path, environment: Mapping[str, str], *options: str, port: int = 0, wait: bool = True
    ) -> None:
        super().__init__(
            "serve", "--port", str(port), "--models-config", str(config), *options, log=log, environment=environment
        )
        if wait:
            assert self.port
            until(self.ready, f"ready\n{self.text}")

    def predict(self, model: str, body: Any, **more: Any) -> HttpAnswer:
        return self.send_request("POST", f"/v1/models/{model}:predict", body, **more)

    def state(self, model: str, version: int) -> str:
        answer = self.get(f"/v1/models/{model}/versions/{version}")
        return answer.json["model_version_status"][0]["state"] if answer.status == 200 else ""


class Sync(Program):
    """`orchard sync` with its status page on a free port."""

    def __init__(self, log: Path, environment: Mapping[str, str], *options: str) -> None:
        super().__init__("sync", "--port", "0", "--poll", "0.05", *options, log=log, environment=environment)

    @property
    def status(self) -> dict[str, Any]:
        return self.get("/status").json

    def served(self, channel: str = "stable") -> int | None:
        """The version that the channel's label points to at the engine."""
        found = self.status["channels"].get(channel)
        return found["served"] if found and found["live"] else None

    def refusal(self, version: int) -> dict[str, Any] | None:
        """The final refusal of a version, once it exists."""
        return next((item for item in self.status["refused"] if item["version"] == version and item["final"]), None)


def raw(port: int, payload: bytes, timeout: float = 20) -> bytes:
    """Send bytes and return everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(payload)
        received = bytearray()
        while chunk := connection.recv(1 << 16):
            received += chunk
        return bytes(received)
