"""What is not ready although no check has a reason: nothing of a release may be broken and count as healthy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestration.cluster.deploy.cluster_events import recent_warnings, seconds_since
from orchestration.cluster.deploy.diagnosis import Diagnosis
from orchestration.cluster.deploy.release import Release
from orchestration.pod_status import statuses

__all__ = ["WORKLOADS", "incomplete_workloads", "unexplained_findings"]

WORKLOADS = "deployments,statefulsets"
_UNKNOWN = "something is wrong that no check knows:"
_STARTING_SECONDS = 60.0


def unexplained_findings(release: Release) -> Iterator[Diagnosis]:
    """Find what is not ready, with the cluster's last warning about it. Called only if no other check found anything."""
    warnings = {
        (item["involvedObject"]["kind"], item["involvedObject"]["name"]): item.get("message", "")
        for item in reversed(recent_warnings(release))
    }
    for kind, name, reason in (
        *((kind, name, "it lacks ready pods") for kind, name in incomplete_workloads(release)),
        *_unobserved(release),
        *_pods(release),
        *_services(release),
    ):
        warning = warnings.get((kind, name))
        yield Diagnosis(
            f"{_UNKNOWN} the {kind} {name}: {reason}{f' ({warning})' if warning else ''}.",
            f"kubectl -n {release.namespace} describe {kind.lower()} {name}; make evidence saves all of it",
        )


def incomplete_workloads(release: Release) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each workload and Job that lacks a pod."""
    for item in release.get(f"{WORKLOADS},jobs"):
        status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
        if item["kind"] == "Job":
            ended = any(entry["status"] == "True" for entry in status.get("conditions", []))
            lacking = not ended and not status.get("active")
        else:
            lacking = status.get("replicas", 0) < wanted or status.get("readyReplicas", 0) < wanted
        if lacking:
            yield item["kind"], item["metadata"]["name"]


def _unobserved(release: Release) -> Iterator[tuple[str, str, str]]:
    """Yield workloads whose last change no controller has carried out."""
    for item in release.get(WORKLOADS):
        status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
        if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
            yield item["kind"], item["metadata"]["name"], "no controller has seen its last change"
        elif status.get("updatedReplicas", wanted) < wanted:
            yield item["kind"], item["metadata"]["name"], "some of its pods are of an earlier configuration"


def _pods(release: Release) -> Iterator[tuple[str, str, str]]:
    for pod in release.get("pods"):
        status, name = pod.get("status", {}), pod["metadata"]["name"]
        conditions = {item["type"]: item for item in status.get("conditions", [])}
        phase, ready = status.get("phase"), conditions.get("Ready", {})
        if any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", [])):
            # A Job reports pods that fail; a pod of which no container ever started, nobody does.
            waits = phase in ("Pending", "Unknown") and all("waiting" in item["state"] for item in statuses(pod))
            if waits and seconds_since(pod["metadata"].get("creationTimestamp")) > _STARTING_SECONDS:
                yield "Pod", name, "no container of it has started"
        elif phase in ("Failed", "Unknown") or (phase in ("Running", "Pending") and ready.get("status") != "True"):
            yield "Pod", name, _pod_reason(status, ready)


def _pod_reason(status: dict[str, Any], ready: dict[str, Any]) -> str:
    return f"it is not ready: {ready.get('message') or status.get('message') or 'its phase is ' + str(status['phase'])}"


def _services(release: Release) -> Iterator[tuple[str, str, str]]:
    """Yield Services that lead to no ready pod: a selector or a label was changed, or no pod is ready."""
    reached = {
        item["metadata"]["labels"].get("kubernetes.io/service-name")
        for item in release.get("endpointslices")
        if any(entry.get("conditions", {}).get("ready") for entry in item.get("endpoints") or [])
    }
    for item in release.get("services"):
        if item["spec"].get("selector") and item["metadata"]["name"] not in reached:
            yield "Service", item["metadata"]["name"], "it leads to no ready pod"
