"""The doctor: each state that it can name, and states that it cannot, which are never nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from orchard.store.ports import choose
from tests.orchestration.doctor_fixture import POD, DoctorFixture
from tests.orchestration.release_fixture import RELEASE

SERVING = "shop-orchard-serving"
UNKNOWN = "something is wrong that no check knows: the "


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fixture = DoctorFixture(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(fixture.folder))
    yield fixture
    fixture.server.close()


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def without(program: str) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.programs.pop(program)


def says(program: str, words: str, output: str, code: int = 0) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.programs[program].update({words: (output, code)})


def sets(**state: object) -> Callable[[DoctorFixture], None]:
    return lambda cluster: [setattr(cluster, name, value) for name, value in state.items()]


def unpublished(cluster: DoctorFixture) -> None:
    cluster.programs["docker"]["ps"] = ("", 0)
    cluster.registry_port = choose()["s3.port"]


def in_use(cluster: DoctorFixture) -> None:
    cluster.programs["docker"]["ps"] = ("", 0)
    cluster.registry_port = cluster.server.port


def mounts(name: str, present: str = "") -> Callable[[DoctorFixture], None]:
    def change(cluster: DoctorFixture) -> None:
        volumes = [{"secret": {"secretName": name, "items": [{"key": "credentials"}]}}]
        cluster.add("deployments,statefulsets,podtemplates", "any", spec={"template": {"spec": {"volumes": volumes}}})
        if present:
            cluster.secret(name, **{present: "x"})

    return change


def lacks(kind: str, name: str) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.manifest(kind, name, exists=False)


def has(kind: str, name: str, **fields: object) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.add(kind, name, **fields)


def workload(kind: str, name: str, *arguments: object, **status: object) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.workload(kind, name, *arguments, **status)


def container(**state: object) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.container(**state)


def pod(name: str, **fields: object) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.pod(name, **fields)


def waits(reason: str, **more: object) -> Callable[[DoctorFixture], None]:
    return container(state={"waiting": {"reason": reason, "message": "the kubelet's words"}}, **more)


def reports(**document: object) -> Callable[[DoctorFixture], None]:
    return lambda cluster: cluster.status.update(document)


def failed(condition: str, **fields: object) -> list[dict[str, object]]:
    return [{"type": condition, "status": "False", "message": "the cluster's words", **fields}]


KNOWN = {
    "a program is missing": (without("helm"), "helm is not on the PATH", "install helm"),
    "Docker is stopped": (says("docker", "info", "", 1), "Docker is stopped", "systemctl start docker"),
    "no cluster": (says("kind", "get clusters", "other"), "no kind cluster orchard", "make deploy creates it"),
    "no context": (sets(contexts=[]), "no context kind-orchard", "kind export kubeconfig --name orchard"),
    "the API server is silent": (sets(silent="no route"), "does not answer", "scripts/cluster up starts it"),
    "the registry has another port": (sets(registry_port=5999), "not at port 5999", "REGISTRY_PORT="),
    "the registry is not running": (unpublished, "is not running", "scripts/cluster up"),
    "the registry's port is taken": (in_use, "is in use, and not by the registry", "ss -ltnp"),
    "no release": (lambda c: c.set_release(name="other"), "holds no release shop", "make deploy installs it"),
    "another chart": (lambda c: c.set_release(chart="nginx-1"), "another chart, nginx-1", "another NAMESPACE="),
    "half installed": (lambda c: c.set_release(status="pending-install"), "pending-install", "helm history shop"),
    "a Secret is missing": (mounts("shop-orchard-store-sync"), "is missing: pods that need it", "delete job"),
    "the signing key is missing": (mounts("shop-orchard-signing"), "is missing", "restore it from a backup: a new key"),
    "a foreign Secret is missing": (mounts("own"), "the Secret own is missing", "the chart did not create it"),
    "a Secret lacks an entry": (mounts("own", "other"), "has no entry credentials", "add the entry"),
    "an object was deleted": (lacks("ConfigMap", "scripts"), "the ConfigMap scripts is missing", "helm upgrade"),
    "an object with data was deleted": (lacks("StatefulSet", "store"), "the StatefulSet store is missing", "backup"),
    "a claim has no volume": (has("persistentvolumeclaims", "data", status={"phase": "Pending"}), "data is Pending", "StorageClass"),
    "a volume is lost": (has("persistentvolumeclaims", "data", status={"phase": "Lost"}), "its data is gone", "backup"),
    "the autoscaler has no metrics": (
        has("horizontalpodautoscalers", "hpa", status={"conditions": failed("ScalingActive")}),
        "hpa does not scale: the cluster's words",
        "install metrics-server",
    ),
    "a rollout is paused": (workload("Deployment", "web", 1, {"paused": True}, readyReplicas=1, replicas=1), "paused", "rollout resume"),
    "a schedule is suspended": (
        workload("CronJob", "cleanup", 1, {"suspend": True}, {"creationTimestamp": "2026-01-01T00:00:00Z"}),
        "the CronJob cleanup is suspended",
        "patch cronjob cleanup",
    ),
    "scaled to 0": (workload("StatefulSet", "store", 0), "the StatefulSet store is scaled to 0", "scale statefulset store"),
    "refused by a quota": (
        workload("Deployment", "web", conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}]),
        "refuses the pods of Deployment web",
        "raise the ResourceQuota",
    ),
    "no node has room": (pod("web", phase="Pending", conditions=failed("PodScheduled")), "fits on no node: the cluster", "lower its"),
    "no image": (waits("ImagePullBackOff"), "cannot pull the image reg/fruit:1", "make deploy builds"),
    "a wrong image name": (waits("InvalidImageName"), "cannot pull the image", "make deploy builds"),
    "a missing ConfigMap key": (waits("CreateContainerConfigError"), "shop-part, main: the kubelet's words", "correct it"),
    "too little memory": (container(lastState={"terminated": {"reason": "OOMKilled"}}), "killed for memory", "raise its memory"),
    "it ends repeatedly": (waits("CrashLoopBackOff", lastState={"terminated": {"exitCode": 3}}), "(code 3): last words", "correct that"),
    "it was restarted often": (
        lambda c: c.container(restartCount=5, lastState={"terminated": {"exitCode": 139, "finishedAt": ago(2)}}),
        "was restarted 5 times; it ended with code 139",
        "--previous",
    ),
    "a pod that stays": (lambda c: c.pod("old", metadata={"deletionTimestamp": ago(20)}), "should have been gone", "get nodes"),
    "a Job failed": (
        workload("Job", "x", conditions=[{"type": "Failed", "status": "True", "message": "the limit"}]),
        "the Job x failed: the limit",
        "logs job/x",
    ),
    "sync does not answer": (lambda c: c.ports.clear(), f"{POD}: cannot forward a port", f"describe pod {POD}"),
    "sync has a problem with advice": (
        reports(problems={"store": "no answer"}, advice={"store": {"fix": "is ORCHARD_STORE_ENDPOINT right?"}}),
        "store: no answer",
        "objectStore.endpoint",
    ),
    "nothing was promoted": (reports(problems={"channels": "nothing was ever promoted"}), "ever promoted", "make deploy trains"),
    "no model server": (reports(problems={"sync": "no model server answers"}), "no model server", "make logs"),
    "an untrusted signature": (reports(problems={"stable": "its signature is forged"}), "forged", "signing.existingSecret"),
    "another problem of sync": (reports(problems={"sync": "odd"}), "sync: odd", "docs/operating.md"),
    "a version was refused": (
        reports(refused=[{"version": 7, "reason": "golden photos differ"}]),
        "refused version 7: golden photos differ",
        "roll back",
    ),
}  # fmt: skip


def test_a_healthy_deployment_has_no_finding(cluster):
    cluster.manifest("Job", "ended", exists=False)  # it deleted itself

    assert cluster.findings() == []


@pytest.mark.parametrize("state", KNOWN)
def test_each_state_that_it_names_has_its_remedy(cluster, state):
    change, wrong, remedy = KNOWN[state]
    cluster.log = "first words\nlast words"
    change(cluster)

    found = cluster.findings()

    assert any(wrong in text and remedy in text for text in found), found
    assert not any(text.startswith(UNKNOWN) for text in found)


def vanished(cluster: DoctorFixture) -> None:
    cluster.slice(SERVING, ready=False)


def starting_job(cluster: DoctorFixture) -> None:
    states = [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    owned = {"ownerReferences": [{"kind": "Job"}], "creationTimestamp": ago(5)}
    cluster.pod("shop-keys-1", phase="Pending", metadata=owned, containerStatuses=states, conditions=[])


UNEXPLAINED = {
    "a Deployment lacks a ready pod": (workload("Deployment", "web", 2, replicas=2, readyReplicas=1), "Deployment web"),
    "a StatefulSet lacks a pod": (workload("StatefulSet", "store", 1, replicas=0), "StatefulSet store"),
    "a Job without a pod": (workload("Job", "keys"), "Job keys"),
    "no controller works": (
        workload("Deployment", "web", 1, None, {"generation": 3}, replicas=1, readyReplicas=1, observedGeneration=2),
        "Deployment web: no controller has seen its last change",
    ),
    "a rollout stands still": (
        workload("Deployment", "web", 2, replicas=2, readyReplicas=2, updatedReplicas=1),
        "Deployment web: some of its pods are of an earlier configuration",
    ),
    "a pod failed": (pod("web-1", phase="Failed", message="node lost", conditions=[]), "Pod web-1: it is not ready: node lost"),
    "a pod of an unknown phase": (pod("web-1", phase="Unknown", conditions=[]), "Pod web-1: it is not ready: its phase is Unknown"),
    "a pod that runs and is not ready": (pod("web-1", conditions=failed("Ready")), "Pod web-1: it is not ready: the cluster's words"),
    "a pod that nobody has looked at": (pod("web-1", phase="Pending", conditions=[]), "Pod web-1: it is not ready: its phase is Pending"),
    "a pod of a Job that never starts": (starting_job, "Pod shop-keys-1: no container of it has started"),
    "a Service that leads nowhere": (vanished, f"Service {SERVING}: it leads to no ready pod"),
}  # fmt: skip


@pytest.mark.parametrize("state", UNEXPLAINED)
def test_a_state_that_no_check_knows_is_never_nothing(cluster, state):
    change, wrong = UNEXPLAINED[state]
    change(cluster)

    found = cluster.findings()

    assert any(text.startswith(UNKNOWN + wrong) for text in found), found


def test_the_last_warning_about_it_is_quoted(cluster):
    cluster.pod("web-1", phase="Pending", conditions=[])
    for minutes, message in ((1, "configmap x not found"), (9, "an earlier one"), (40, "an old one")):
        involved = {"kind": "Pod", "name": "web-1"}
        cluster.add("events", f"e{minutes}", involvedObject=involved, message=message, lastTimestamp=ago(minutes))

    (found,) = cluster.findings()

    assert "(configmap x not found)" in found
    assert f"kubectl -n {RELEASE.namespace} describe pod web-1" in found


def test_objects_that_cannot_be_read_are_a_finding(cluster):
    cluster.programs["helm"]["get manifest"] = ("no matches for kind ServiceMonitor", 1)

    (found,) = cluster.findings()

    assert "no matches for kind ServiceMonitor" in found
