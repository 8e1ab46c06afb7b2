"""What is wrong with pods that do not exist: refused at admission, or scaled to 0; and with Airflow's parts."""

from __future__ import annotations

from collections.abc import Iterator

from orchestration.cluster.deploy.airflow_client import reach_airflow
from orchestration.cluster.deploy.cluster_events import recent_warnings
from orchestration.cluster.deploy.diagnosis import Diagnosis
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.unexplained import WORKLOADS, incomplete_workloads
from orchestration.cluster.kube_client import ClusterError
from orchestration.pod_refusals import refusal_advice

__all__ = ["airflow_findings", "workload_findings"]

_PATIENCE_SECONDS = 15.0


def workload_findings(release: Release) -> Iterator[Diagnosis]:
    """Find workloads that have fewer pods than they need, because none is wanted or the cluster refuses them."""
    for item in release.get(WORKLOADS):
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
    for item in release.get(f"{WORKLOADS},jobs"):
        for condition in item.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                owners[f"{item['kind']} {item['metadata']['name']}"] = condition.get("message", "")
    incomplete = set(incomplete_workloads(release))
    for event in recent_warnings(release):
        if event.get("reason") != "FailedCreate":
            continue
        involved = event["involvedObject"]
        for kind, name in incomplete:
            if involved["kind"] in (kind, "ReplicaSet") and involved["name"].startswith(name):
                owners.setdefault(f"{kind} {name}", event.get("message", ""))
    for owner, message in owners.items():
        yield Diagnosis(f"the cluster refuses the pods of {owner}: {message}", refusal_advice(message))


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
