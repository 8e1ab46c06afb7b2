"""The state of a release in the cluster, as files in one folder, for a later analysis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from orchestration.cluster.deploy.port_forward import status
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError
from orchestration.pod_status import statuses

__all__ = ["collect"]

_KINDS = "all,configmaps,persistentvolumeclaims,podtemplates,networkpolicies,poddisruptionbudgets,serviceaccounts,roles"
_SECRETS = "custom-columns=NAME:.metadata.name,TYPE:.type,CREATED:.metadata.creationTimestamp"
_LINES = "--tail=2000"


def collect(release: Release, folder: Path) -> list[Path]:
    """Write objects, events, logs (of ended containers too) and the status of every `sync`, but no Secret's content.

    If something cannot be read, its file has the error. Returns the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / name, read) for name, read in _sources(release)]


def _sources(release: Release) -> Iterator[tuple[str, Callable[[], str]]]:
    commands: dict[str, tuple[str, ...]] = {
        "pods.txt": ("get", "pods", "--output=wide"),
        "pods-described.txt": ("describe", "pods"),
        "events.txt": ("get", "events", "--sort-by=.lastTimestamp"),
        "objects.yaml": ("get", _KINDS, "--output=yaml"),
        "secrets.txt": ("get", "secrets", f"--output={_SECRETS}"),
        "nodes.txt": ("describe", "nodes"),
        "usage.txt": ("top", "pods", "--containers"),
    }
    for name, arguments in commands.items():
        yield name, partial(release.kubectl, *arguments)
    yield "release.txt", partial(release.helm, "status", release.name, "--show-resources")
    try:
        pods = release.get("pods")
    except ClusterError:
        return  # pods.txt has the reason
    for pod in pods:
        yield from _logs(release, pod)
        if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "serving":
            yield f"{pod['metadata']['name']}.status.json", partial(_status, release, pod["metadata"]["name"])


def _logs(release: Release, pod: dict[str, Any]) -> Iterator[tuple[str, Callable[[], str]]]:
    name = pod["metadata"]["name"]
    for item in statuses(pod):
        arguments = ("logs", name, f"--container={item['name']}", _LINES)
        yield f"{name}.{item['name']}.log", partial(release.kubectl, *arguments)
        if item.get("restartCount"):
            yield f"{name}.{item['name']}.before.log", partial(release.kubectl, *arguments, "--previous")


def _status(release: Release, pod: str) -> str:
    return json.dumps(status(release, pod), indent=2)


def _write(path: Path, read: Callable[[], str]) -> Path:
    try:
        text = read()
    except ClusterError as error:
        text = f"{error.message}\n"
    path.write_text(text, encoding="utf-8")
    return path
