"""Waits for a ready pod of a part of the release, and says at once why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic, sleep
from typing import Any

from orchestration.cluster.deploy.diagnosis import Diagnosis
from orchestration.cluster.deploy.doctor import examine_part
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError
from orchestration.pod_status import statuses

__all__ = ["await_ready", "pod_states"]

_SECONDS = 60.0
_SAY_SECONDS = 10.0
_STEADY_SECONDS = 10.0
_POLL_SECONDS = 1.0


def await_ready(release: Release, component: str, note: Callable[[str], None], *, seconds: float = _SECONDS) -> None:
    """Wait until a pod of a part of the release is ready.

    The reasons that `make doctor` finds are reported at once. When they stay the same for ten seconds, or no pod can come,
    the wait ends.

    Args:
        release: the release.
        component: the part, by its label: ``serving``, ``store``, ``airflow-api``.
        note: prints a line.
        seconds: the time limit.

    Raises:
        ClusterError: no pod is ready in time; or the release has no such part.
    """
    part = replace(release, component=component)
    begin = monotonic()
    since, told, said, found = begin, begin, "", list[Diagnosis]()
    while not any(map(_is_ready, pods := _pods(part))):
        now = monotonic()
        if (reasons := examine_part(part)) != found:
            found, since = reasons, now
        text = "; ".join(item.wrong for item in found) or _states(part, pods)
        if text != said or now - told > _SAY_SECONDS:
            note(f"waiting for a ready pod of {component}, {now - begin:.0f} s: {text}")
            said, told = text, now
        if now - begin > seconds or (found and (not pods or now - since > _STEADY_SECONDS)):
            hint = "; ".join(dict.fromkeys(item.remedy for item in found)) or "`make doctor` shows more"
            raise ClusterError(f"no pod of {component} is ready: {text}", hint=hint)
        sleep(_POLL_SECONDS)


def _pods(part: Release) -> list[dict[str, Any]]:
    return [item for item in part.get("pods") if "deletionTimestamp" not in item["metadata"]]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def pod_states(release: Release) -> str:
    """Return what the pods that are not ready are doing."""
    ended = ("Succeeded", "Failed")
    waiting = [pod for pod in _pods(release) if not _is_ready(pod) and pod.get("status", {}).get("phase") not in ended]
    return "; ".join(f"{pod['metadata']['name']}: {_state(pod)}" for pod in waiting) or "all pods are ready"


def _states(part: Release, pods: list[dict[str, Any]]) -> str:
    """Return what the pods are doing."""
    if not pods and not part.get("deployments,statefulsets"):
        raise ClusterError(
            f"the namespace {part.namespace} has no {part.component} of a release {part.name}",
            hint="`make deploy` installs it; `helm list -A` lists the releases of all namespaces",
        )
    return "; ".join(f"{pod['metadata']['name']}: {_state(pod)}" for pod in pods) or "no pod was created yet"


def _state(pod: dict[str, Any]) -> str:
    """Return the first container that is not ready, with its state."""
    for item in statuses(pod):
        if not item.get("ready") and "terminated" not in item["state"]:
            waiting = item["state"].get("waiting", {}).get("reason")
            return f"{item['name']} waits ({waiting})" if waiting else f"{item['name']} runs and is not ready"
    return str(pod.get("status", {}).get("phase", "Pending")).lower()
