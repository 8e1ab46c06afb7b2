"""What is wrong with pods that do not exist: refused at admission, scaled to 0, or missing for a reason nobody names."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from orchestration.cluster.deploy.airflow_client import reach_airflow
from orchestration.cluster.deploy.diagnosis import Diagnosis
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.kube_client import ClusterError
from orchestration.pod_refusals import refusal_advice

__all__ = ["airflow_findings", "unexplained_findings", "workload_findings"]

_WORKLOADS = "deployments,statefulsets"
_RECENT_SECONDS = 900.0
_PATIENCE_SECONDS = 15.0


def workload_findings(release: Release) -> Iterator[Diagnosis]:
    """Find workloads that have fewer pods than they need, because none is wanted or the cluster refuses them."""
    for item in release.get(_WORKLOADS):
        name = f"{item['kind']} {item['metadata']['name']}"
        if item["spec"].get("replicas", 1) == 0:
            kind = item["kind"].lower()
            yield Diagnosis(
                f"the {name} is scaled to 0: it has no pod.",
                f"kubectl -n {release.namespace} scale {kind} {item['metadata']['name']} --replicas=1, or helm upgrade "
                "with serving.replicas",
            )
    yield from _refused(release)


def _refused(release: Release) -> Iterator[Diagnosis]:
    """Find pods that the cluster refused to create: only events and the condition of a Deployment report them."""
    owners: dict[str, str] = {}
    for item in release.get(f"{_WORKLOADS},jobs"):
        for condition in item.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                owners[f"{item['kind']} {item['metadata']['name']}"] = condition.get("message", "")
    incomplete = set(_incomplete(release))
    for event in _recent_events(release, "FailedCreate"):
        involved = event["involvedObject"]
        for kind, name in incomplete:
            if involved["kind"] in (kind, "ReplicaSet") and involved["name"].startswith(name):
                owners.setdefault(f"{kind} {name}", event.get("message", ""))
    for owner, message in owners.items():
        yield Diagnosis(f"the cluster refuses the pods of {owner}: {message}", refusal_advice(message))


def _incomplete(release: Release) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each workload and Job that lacks a pod."""
    for item in release.get(f"{_WORKLOADS},jobs"):
        status, wanted = item.get("status", {}), item["spec"].get("replicas", 1)
        if item["kind"] == "Job":
            ended = any(entry["status"] == "True" for entry in status.get("conditions", []))
            lacking = not ended and not status.get("active")
        else:
            lacking = status.get("replicas", 0) < wanted or status.get("readyReplicas", 0) < wanted
        if lacking:
            yield item["kind"], item["metadata"]["name"]


def _recent_events(release: Release, reason: str) -> list[dict[str, Any]]:
    """Return the newest warnings of this reason first; the cluster forgets them after an hour."""
    listed = json.loads(
        release.kubectl("get", "events", f"--field-selector=type=Warning,reason={reason}", "--output=json")
    )["items"]
    dated = [(_event_time(item), item) for item in listed]
    recent = [pair for pair in dated if time.time() - pair[0] < _RECENT_SECONDS]
    return [item for _, item in sorted(recent, key=lambda pair: -pair[0])]


def _event_time(event: dict[str, Any]) -> float:
    series = event.get("series") or {}
    text = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(str(text)).timestamp() if text else 0.0


def airflow_findings(release: Release) -> Iterator[Diagnosis]:
    """Find parts of Airflow that report no heartbeat, and files of DAGs that it cannot read."""
    if not any(item["metadata"]["name"] == f"{release.fullname}-airflow-api" for item in release.get("deployments")):
        return
    with reach_airflow(release, patience_s=_PATIENCE_SECONDS) as airflow:
        try:
            health, broken = airflow.health(), airflow.request("GET", "/importErrors")["import_errors"]
        except ClusterError as error:
            yield Diagnosis(
                f"Airflow: {error.message}",
                f"kubectl -n {release.namespace} logs deploy/{release.fullname}-airflow-api",
            )
            return
    for part, state in health.items():
        if isinstance(state, dict) and state.get("status") not in ("healthy", None):
            yield Diagnosis(
                f"Airflow's {part.replace('_', ' ')} is {state['status']}.",
                f"kubectl -n {release.namespace} get pods; its pod's log has the reason: make evidence",
            )
    for item in broken:
        last = (str(item.get("stack_trace", "")).strip().splitlines() or ["no reason was reported"])[-1]
        yield Diagnosis(
            f"Airflow cannot read the DAG file {item.get('filename')}: {last}",
            "correct the named value of the chart, then helm upgrade; or use the Airflow image of this release",
        )


def unexplained_findings(release: Release) -> Iterator[Diagnosis]:
    """Find workloads that are not ready although no other check has a reason."""
    for kind, name in _incomplete(release):
        if kind != "Job":
            yield Diagnosis(
                f"something is wrong that no check knows: the {kind} {name} has fewer ready pods than it needs.",
                f"kubectl -n {release.namespace} describe {kind.lower()} {name}; make evidence saves all of it",
            )
    for pod in release.get("pods"):
        conditions = {item["type"]: item for item in pod.get("status", {}).get("conditions", [])}
        phase, ready = pod.get("status", {}).get("phase"), conditions.get("Ready", {})
        if phase in ("Failed", "Unknown") or (phase in ("Running", "Pending") and ready.get("status") == "False"):
            if any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", [])):
                continue  # its Job is reported
            reason = ready.get("message") or pod["status"].get("message") or f"its phase is {phase}"
            yield Diagnosis(
                f"something is wrong that no check knows: the pod {pod['metadata']['name']} is not ready: {reason}",
                f"kubectl -n {release.namespace} describe pod {pod['metadata']['name']}",
            )
