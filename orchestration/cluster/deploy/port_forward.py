"""A way from this machine to a port in the cluster, for as long as it is needed."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchard.processes import ChildProcess
from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy.release import Release

__all__ = ["forward", "keep_forwarding", "status"]

_BEGUN = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_SECONDS = 60.0


@contextmanager
def forward(place: Release, target: str, port: int, local: int = 0) -> Iterator[str]:
    """Forward a port of this machine's loopback to one of a pod, through kubectl.

    Args:
        place: where.
        target: ``service/NAME`` or ``pod/NAME``; of a service one pod that is ready is chosen, once.
        port: of the target.
        local: of this machine; 0: any that is free.

    Yields:
        ``http://127.0.0.1:PORT``.

    Raises:
        ClusterError: there is no such target, none of its pods is ready, or the local port is in use.
    """
    with _forwarding(place, target, port, local) as (_, url):
        yield url


def keep_forwarding(place: Release, target: str, port: int, local: int) -> Iterator[str]:
    """Forward, and again whenever the pod that was chosen has gone, for as long as one is there to be chosen.

    Yields:
        The address, once for each time that it is ready.

    Raises:
        ClusterError: as `forward`.
    """
    while True:
        with _forwarding(place, target, port, local) as (child, url):
            yield url
            child.wait()


@contextmanager
def _forwarding(place: Release, target: str, port: int, local: int) -> Iterator[tuple[ChildProcess, str]]:
    command = place.kubectl_command("port-forward", "--address=127.0.0.1", target, f"{local or ''}:{port}")
    with tempfile.TemporaryDirectory() as folder, ChildProcess(command, log=Path(folder, "log")) as child:
        yield child, f"http://127.0.0.1:{_await(child, target)}"


def _await(child: ChildProcess, target: str) -> int:
    deadline = time.monotonic() + _SECONDS
    while True:
        log = child.tail()
        if match := _BEGUN.search(log):
            return int(match[1])
        if "address already in use" in log:
            raise ClusterError(
                "that port of this machine is in use", hint="choose another: make port-forward PORT=9501"
            )
        if not child.running() or time.monotonic() > deadline:
            raise ClusterError(
                f"no way to {target}: {log or 'kubectl wrote nothing'}", hint="`make doctor` finds the reason"
            )
        time.sleep(0.02)


def status(place: Release, pod: str) -> dict[str, Any]:
    """Return the status document of a pod's `sync`.

    Raises:
        ClusterError: it does not answer.
    """
    import requests

    with forward(place, f"pod/{pod}", 8502) as url:
        try:
            document: dict[str, Any] = requests.get(f"{url}/status", timeout=10).json()
        except (requests.RequestException, ValueError) as error:
            raise ClusterError(f"sync in {pod} does not answer: {error}") from error
    return document
