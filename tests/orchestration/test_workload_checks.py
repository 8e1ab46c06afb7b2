"""The doctor sees pods that do not exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.cluster.deploy.unexplained import unexplained_findings
from orchestration.cluster.deploy.workload_checks import airflow_findings, workload_findings
from orchestration.pod_refusals import refusal_advice
from tests.orchestration.release_fixture import RELEASE, FakeAirflow, ReleaseFixture

WORKLOADS, ALL = "deployments,statefulsets", "deployments,statefulsets,jobs"
QUOTA = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fixture = ReleaseFixture(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(fixture.folder), prepend=":")
    return fixture


def add(cluster, kind, name, wanted=1, **status):
    """Add a workload, as both lists that the checks read have it."""
    for listed in (ALL,) if kind == "Job" else (WORKLOADS, ALL):
        cluster.add(listed, name, spec={"replicas": wanted}, status=status)
        cluster.objects[listed][-1]["kind"] = kind
    cluster.save()


def refuse(cluster, kind, name, message, minutes=1):
    """Add the event of a pod that was refused."""
    time = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    cluster.add(
        "events",
        f"e{name}",
        reason="FailedCreate",
        involvedObject={"kind": kind, "name": name},
        message=message,
        lastTimestamp=time,
    )


def texts(findings):
    return [f"{item.wrong} {item.remedy}" for item in findings]


def test_a_healthy_release_has_no_finding(cluster):
    add(cluster, "Deployment", "shop-serving", 2, replicas=2, readyReplicas=2)
    add(cluster, "StatefulSet", "shop-store", replicas=1, readyReplicas=1)
    add(cluster, "Job", "shop-keys", conditions=[{"type": "Complete", "status": "True"}])

    assert texts(workload_findings(RELEASE)) == texts(unexplained_findings(RELEASE)) == []


def test_a_workload_that_is_scaled_to_zero_is_reported(cluster):
    add(cluster, "Deployment", "shop-serving", 0)

    (found,) = texts(workload_findings(RELEASE))

    assert "the Deployment shop-serving is scaled to 0" in found
    assert "kubectl -n fruit scale deployment shop-serving --replicas=1" in found


def test_a_deployment_whose_pods_are_refused_is_reported_by_its_condition(cluster):
    add(
        cluster,
        "Deployment",
        "shop-serving",
        conditions=[{"type": "ReplicaFailure", "status": "True", "message": QUOTA}],
    )

    (found,) = texts(workload_findings(RELEASE))

    assert "exceeded quota: q" in found
    assert "raise the ResourceQuota" in found


@pytest.mark.parametrize(
    ("kind", "involved"), [("StatefulSet", "StatefulSet"), ("Job", "Job"), ("Deployment", "ReplicaSet")]
)
def test_pods_that_are_refused_at_admission_are_reported_by_their_events(cluster, kind, involved):
    add(cluster, kind, "shop-part")
    refuse(cluster, involved, "shop-part", QUOTA)

    (found,) = texts(workload_findings(RELEASE))

    assert f"the cluster refuses the pods of {kind} shop-part: {QUOTA}" in found


def test_a_refusal_of_the_past_is_not_reported(cluster):
    add(cluster, "StatefulSet", "shop-store")
    refuse(cluster, "StatefulSet", "shop-store", QUOTA, minutes=40)
    add(cluster, "StatefulSet", "shop-database", replicas=1, readyReplicas=1)
    refuse(cluster, "StatefulSet", "shop-database", QUOTA)

    assert texts(workload_findings(RELEASE)) == []


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (QUOTA, "ResourceQuota"),
        ("cpu max limit is forbidden: maximum cpu usage per Container is 1", "LimitRange"),
        ('violates PodSecurity "restricted:latest": runAsNonRoot', "restricted"),
        ("unable to validate against any security context constraint: uid", "podSecurity"),
        ('admission webhook "policy.example.com" denied the request', "webhook"),
        ('error looking up service account fruit/x: serviceaccount "x" not found', "helm upgrade"),
        ("something that no table has", "correct what the message names"),
    ],
)
def test_each_reason_of_a_refusal_has_its_advice(message, advice):
    assert advice in refusal_advice(message)


def test_airflow_reports_parts_without_a_heartbeat_and_broken_dags(cluster):
    airflow = FakeAirflow()
    cluster.install_airflow(airflow)
    airflow.health = {
        "scheduler": {"status": "unhealthy"},
        "dag_processor": {"status": "healthy"},
        "triggerer": {"status": None},
    }
    airflow.broken = [{"filename": "retrain_dag.py", "stack_trace": "Traceback\nValueError: no such schedule"}]
    try:
        found = texts(airflow_findings(RELEASE))
    finally:
        airflow.server.close()

    assert len(found) == 2
    assert "Airflow's scheduler is unhealthy" in found[0]
    assert "retrain_dag.py: ValueError: no such schedule" in found[1]


def test_a_release_without_airflow_has_no_finding_of_it(cluster):
    cluster.add("deployments", "shop-orchard-serving")

    assert texts(airflow_findings(RELEASE)) == []
