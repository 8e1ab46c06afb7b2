"""All that a cluster knows about a release, in one folder, for a later analysis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy.port_forward import status
from orchestration.cluster.deploy.release import Release

__all__ = ["collect"]

_KINDS = "all,configmaps,persistentvolumeclaims,podtemplates,networkpolicies,poddisruptionbudgets,serviceaccounts,roles"
_SECRETS = "custom-columns=NAME:.metadata.name,TYPE:.type,CREATED:.metadata.creationTimestamp"
_LINES = "--tail=2000"


def collect(place: Release, folder: Path) -> list[Path]:
    """Write objects, events, logs (those of containers that ended too) and the status of every `sync`; no Secret's content.

    What cannot be read leaves its error instead. Returns the files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / name, read) for name, read in _sources(place)]


def _sources(place: Release) -> Iterator[tuple[str, Callable[[], str]]]:
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
        yield name, partial(place.kubectl, *arguments)
    yield "release.txt", partial(place.helm, "status", place.release, "--show-resources")
    try:
        pods = place.get("pods")
    except ClusterError:
        return  # pods.txt says why
    for pod in pods:
        yield from _logs(place, pod["metadata"]["name"], pod.get("status", {}))
        if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "serving":
            yield f"{pod['metadata']['name']}.status.json", partial(_status, place, pod["metadata"]["name"])


def _logs(
    place: Release, pod: str, state: dict[str, list[dict[str, object]]]
) -> Iterator[tuple[str, Callable[[], str]]]:
    for item in (*state.get("initContainerStatuses", []), *state.get("containerStatuses", [])):
        arguments = ("logs", pod, f"--container={item['name']}", _LINES)
        yield f"{pod}.{item['name']}.log", partial(place.kubectl, *arguments)
        if item.get("restartCount"):
            yield f"{pod}.{item['name']}.before.log", partial(place.kubectl, *arguments, "--previous")


def _status(place: Release, pod: str) -> str:
    return json.dumps(status(place, pod), indent=2)


def _write(path: Path, read: Callable[[], str]) -> Path:
    try:
        text = read()
    except ClusterError as error:
        text = f"{error.message}\n"
    path.write_text(text, encoding="utf-8")
    return path
