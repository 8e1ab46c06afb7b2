"""Forward a port of this machine to a port in the cluster, through kubectl."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchard.processes import ChildProcess
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError

__all__ = ["forward", "keep_forwarding", "status"]

_STARTED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_SECONDS = 60.0


@contextmanager
def forward(release: Release, target: str, port: int) -> Iterator[str]:
    """Forward a port of this machine's loopback to a port of a pod.

    Args:
        release: the release.
        target: ``service/NAME`` or ``pod/NAME``; for a service, kubectl chooses one ready pod, once.
        port: the target's.

    Yields:
        ``http://127.0.0.1:PORT``, a free port of this machine.

    Raises:
        ClusterError: there is no such target, or none of its pods is ready.
    """
    with _forwarding(release, target, port, 0) as (_, url):
        yield url


def keep_forwarding(
    release: Release, target: str, port: int, local: int, await_pod: Callable[[], None]
) -> Iterator[str]:
    """Forward the port `local`, and again after the pod was replaced, until no pod is ready.

    Args:
        release: the release.
        target: as for `forward`.
        port: the target's.
        local: this machine's.
        await_pod: waits for a ready pod; called before each forwarding.

    Yields:
        The address, each time that it is ready.

    Raises:
        ClusterError: as `forward`, or the port is in use.
    """
    while True:
        await_pod()
        with _forwarding(release, target, port, local) as (child, url):
            yield url
            child.wait()


@contextmanager
def _forwarding(release: Release, target: str, port: int, local: int) -> Iterator[tuple[ChildProcess, str]]:
    command = release.kubectl_command("port-forward", "--address=127.0.0.1", target, f"{local or ''}:{port}")
    with tempfile.TemporaryDirectory() as folder, ChildProcess(command, log=Path(folder, "log")) as child:
        yield child, f"http://127.0.0.1:{_await(child, target)}"


def _await(child: ChildProcess, target: str) -> int:
    deadline = time.monotonic() + _SECONDS
    while True:
        log = child.tail()
        if match := _STARTED.search(log):
            return int(match[1])
        if "address already in use" in log:
            raise ClusterError(
                "that port of this machine is in use", hint="choose another: make port-forward PORT=9501"
            )
        if not child.running() or time.monotonic() > deadline:
            raise ClusterError(
                f"cannot forward a port to {target}: {log or 'kubectl printed nothing'}",
                hint="`make doctor` finds the reason",
            )
        time.sleep(0.02)


def status(release: Release, pod: str) -> dict[str, Any]:
    """Return the status document of a pod's `sync`.

    Raises:
        ClusterError: it does not answer.
    """
    import requests

    with forward(release, f"pod/{pod}", 8502) as url:
        try:
            document: dict[str, Any] = requests.get(f"{url}/status", timeout=10).json()
        except (requests.RequestException, ValueError) as error:
            raise ClusterError(f"sync in {pod} does not answer: {error}") from error
    return document
