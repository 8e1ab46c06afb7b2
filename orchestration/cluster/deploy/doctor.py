"""Finds the faults of a deployment, from the machine to the model, each with its remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from orchard.store.ports import is_listening
from orchestration.cluster.deploy.diagnosis import Diagnosis
from orchestration.cluster.deploy.object_checks import object_findings
from orchestration.cluster.deploy.port_forward import status
from orchestration.cluster.deploy.release import Release, ReleaseSnapshot, run
from orchestration.cluster.deploy.unexplained import unexplained_findings
from orchestration.cluster.deploy.workload_checks import airflow_findings, workload_findings
from orchestration.cluster.kube_client import ClusterError
from orchestration.pod_status import statuses

__all__ = ["examine", "examine_part", "in_the_chart"]

PROGRAMS = ("docker", "kind", "kubectl", "helm")
REGISTRY = "kind-registry"

_CHART_VALUES = {
    "ORCHARD_STORE_URL": "objectStore.bucket",
    "ORCHARD_STORE_ENDPOINT": "objectStore.endpoint",
    "ORCHARD_STORE_REGION": "objectStore.region",
    "ORCHARD_STORE_CREDENTIALS_FILE": "the key in the Secret of `sync` (objectStore.existingSecrets.sync)",
    "ORCHARD_STORE_CA_FILE": "ca.crt in the Secret of objectStore.caSecret",
}


def examine(release: Release, registry_port: int | None = 5001) -> list[Diagnosis]:
    """Check in the order of dependence; a fault that hides all later ones ends the search.

    Args:
        release: the expected release.
        registry_port: the expected port of the registry on this machine; None: none is expected.
    """
    for check in (_machine, _cluster):
        if findings := list(check(release)):
            return findings
    findings = list(_registry(registry_port)) if registry_port and release.context.startswith("kind-") else []
    if missing := list(_release(release)):
        return [*findings, *missing]
    release = ReleaseSnapshot(release.context, release.namespace, release.name)
    secrets = list(_secrets(release))
    findings += [*secrets, *object_findings(release), *workload_findings(release)]
    findings += [*_pods(release), *_jobs(release)]
    findings += [*([] if secrets else _sync(release)), *airflow_findings(release)]
    return findings or list(unexplained_findings(release))


def _machine(release: Release) -> Iterator[Diagnosis]:
    kind = release.context.startswith("kind-")
    for program in PROGRAMS if kind else PROGRAMS[2:]:
        if shutil.which(program) is None:
            yield Diagnosis(f"{program} is not on the PATH.", f"install {program}, then run this again")
    if kind and shutil.which("docker") is not None and not _succeeds("docker", "info"):
        yield Diagnosis(
            "Docker is stopped, or you may not use it.",
            "start it: systemctl start docker; `docker info` shows more",
        )


def _cluster(release: Release) -> Iterator[Diagnosis]:
    name = release.context.removeprefix("kind-")
    if release.context.startswith("kind-") and name not in run(["kind", "get", "clusters"]).split():
        yield Diagnosis(f"there is no kind cluster {name}.", "make deploy creates it")
    elif release.context not in run(["kubectl", "config", "get-contexts", "--output=name"]).split():
        yield Diagnosis(
            f"the kubeconfig has no context {release.context}.",
            f"kind export kubeconfig --name {name}"
            if release.context.startswith("kind-")
            else "name another: CONTEXT=…",
        )
    elif not _succeeds("kubectl", "--context", release.context, "--request-timeout=5s", "get", "--raw", "/readyz"):
        yield Diagnosis(
            f"the cluster of {release.context} does not answer.",
            "scripts/cluster up starts it"
            if release.context.startswith("kind-")
            else "kubectl cluster-info shows more",
        )


def _registry(port: int) -> Iterator[Diagnosis]:
    published = run(["docker", "ps", "--filter", f"name=^{REGISTRY}$", "--format", "{{.Ports}}"]).strip()
    if published and f":{port}->" not in published:
        yield Diagnosis(f"the registry {REGISTRY} is published at {published}, not at port {port}.", "REGISTRY_PORT=…")
    elif not published and is_listening(port):
        yield Diagnosis(
            f"port {port} is in use, and not by the registry {REGISTRY}.",
            f"stop the program that listens there (ss -ltnp 'sport = :{port}' names it), or REGISTRY_PORT=5002",
        )
    elif not published:
        yield Diagnosis(f"the registry {REGISTRY} is not running.", "scripts/cluster up starts it")


def _succeeds(*command: str) -> bool:
    try:
        run(command, seconds=20)
    except ClusterError:
        return False
    return True


def _release(release: Release) -> Iterator[Diagnosis]:
    for item in json.loads(release.helm("list", "--all", "--output=json")):
        if item["name"] != release.name:
            continue
        if not item["chart"].startswith("orchard-"):
            yield Diagnosis(
                f"{release.name} in {release.namespace} is another chart, {item['chart']}.",
                "choose another NAMESPACE=…",
            )
        elif item["status"] != "deployed":
            yield Diagnosis(
                f"the release {release.name} is {item['status']}.",
                f"helm history {release.name} -n {release.namespace} shows why; make deploy tries again",
            )
        return
    yield Diagnosis(f"{release.namespace} holds no release {release.name}.", "make deploy installs it")


def _secrets(release: Release) -> Iterator[Diagnosis]:
    """Find Secrets that pods mount and that are missing, or lack a key."""
    checked = set()
    for item in release.get("deployments,statefulsets,podtemplates"):
        spec = (item.get("template") or item["spec"]["template"])["spec"]
        for volume in spec.get("volumes", []):
            if "secret" in volume and volume["secret"]["secretName"] not in checked:
                checked.add(volume["secret"]["secretName"])
                yield from _secret(release, volume["secret"])


def _secret(release: Release, volume: dict[str, Any]) -> Iterator[Diagnosis]:
    name = volume["secretName"]
    try:
        data = release.secret(name)
    except ClusterError:
        yield Diagnosis(f"the Secret {name} is missing: pods that need it wait for it.", _missing_secret(release, name))
        return
    required = {item["key"] for item in volume.get("items", [])} or (
        {"credentials"} if not name.endswith("-server") else set()
    )
    for key in sorted(required - set(data)):
        yield Diagnosis(f"the Secret {name} has no entry {key}.", "this chart did not create it: add the entry")


def _missing_secret(release: Release, name: str) -> str:
    """Return the remedy for a missing Secret: restoring comes first, because data depends on most keys."""
    lasting = {
        f"{release.fullname}-signing": "a new key makes every published version untrusted: serving stops",
        f"{release.fullname}-airflow": "a new key cannot read what Airflow's database holds encrypted",
        f"{release.fullname}-database": "with a new password Airflow cannot log in to its database",
    }
    selector = f"app.kubernetes.io/instance={release.name},app.kubernetes.io/component=keys"
    again = f"kubectl -n {release.namespace} delete job --selector {selector}, then helm upgrade creates it again"
    if name in lasting:
        return (
            f"restore it from a backup: {lasting[name]}. Without a backup, and only if you accept that: "
            f"kubectl -n {release.namespace} delete configmap {release.fullname}-keys; {again}"
        )
    if name.startswith(f"{release.fullname}-store-"):
        return f"restore it from a backup, or {again}: photos and models stay"
    return "restore it: the chart did not create it"


def _pods(release: Release) -> Iterator[Diagnosis]:
    """Find containers that do not run, with the kubelet's reason."""
    for pod in release.get("pods"):
        name = pod["metadata"]["name"]
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield Diagnosis(
                    f"{name} fits on no node: {condition.get('message', '')}",
                    "make room, or lower its resource requests",
                )
        for item in statuses(pod):
            yield from _container(release, name, item)


def _container(release: Release, pod: str, item: dict[str, Any]) -> Iterator[Diagnosis]:
    waiting = item["state"].get("waiting", {})
    reason, before = waiting.get("reason", ""), item.get("lastState", {}).get("terminated", {})
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
        yield Diagnosis(f"{pod} cannot pull the image {item['image']}.", "make deploy builds and pushes it")
    elif reason in ("CreateContainerConfigError", "CreateContainerError"):
        yield Diagnosis(f"{pod}, {item['name']}: {waiting.get('message', reason)}", "make deploy, or correct it")
    elif before.get("reason") == "OOMKilled":
        yield Diagnosis(
            f"{pod}, {item['name']} was killed for memory.", "raise its memory limit (values.yaml, resources)"
        )
    elif reason == "CrashLoopBackOff":
        last = _last_line(release, pod, item["name"])
        yield Diagnosis(
            f"{pod}, {item['name']} ends repeatedly (code {before.get('exitCode')}): {last}",
            "correct that, then make deploy",
        )


def _last_line(release: Release, pod: str, container: str) -> str:
    try:
        lines = release.kubectl("logs", pod, "-c", container, "--previous", "--tail=5").strip().splitlines()
    except ClusterError:
        lines = []
    return lines[-1] if lines else "it wrote nothing"


def _jobs(release: Release) -> Iterator[Diagnosis]:
    for job in release.get("jobs"):
        if job["metadata"]["labels"].get("app.kubernetes.io/component") == "registry":
            continue  # who called the verb has seen its error
        for condition in job.get("status", {}).get("conditions", []):
            if condition["type"] == "Failed" and condition["status"] == "True":
                name = job["metadata"]["name"]
                yield Diagnosis(
                    f"the Job {name} failed: {condition.get('message', condition.get('reason', ''))}",
                    f"kubectl -n {release.namespace} logs job/{name} --all-containers; then make deploy",
                )


def _sync(release: Release) -> Iterator[Diagnosis]:
    """Find what `sync` reports in the model server's pods: the store's keys, bucket and address, signatures, versions."""
    reported: set[str] = set()
    for pod in release.serving_pods():
        try:
            document = status(release, pod)
        except ClusterError as error:
            yield Diagnosis(f"{pod}: {error.message}", f"kubectl -n {release.namespace} describe pod {pod}")
            continue
        yield from _reported(pod, document, reported)


def _reported(pod: str, document: dict[str, Any], reported: set[str]) -> Iterator[Diagnosis]:
    """Read the status document of a pod's `sync`; a problem that is in `reported` is left out."""
    for part, problem in document["problems"].items():
        if str(problem) not in reported:
            reported.add(str(problem))
            advice = document.get("advice", {}).get(part, {})
            yield Diagnosis(f"{pod}, {part}: {problem}", in_the_chart(advice.get("fix")) or _advice(str(problem)))
    for refusal in document["refused"]:
        yield Diagnosis(
            f"{pod} refused version {refusal['version']}: {refusal['reason']}", "publish a valid one, or roll back"
        )


def examine_part(part: Release) -> list[Diagnosis]:
    """Find why a part of a release is not ready; a part that only needs more time has no finding.

    Args:
        part: the release, with its `component`.
    """
    findings = [*(secrets := list(_secrets(part))), *workload_findings(part), *_pods(part)]
    reported: set[str] = set()
    for pod in [] if secrets or part.component != "serving" else part.serving_pods():
        with suppress(ClusterError):  # it does not answer yet
            findings += _reported(pod, status(part, pod), reported)
    return findings


def in_the_chart(fix: str | None) -> str:
    """Return sync's own advice, with the chart's value for each setting in it."""
    if not fix:
        return ""
    values = [f"{setting} is {value}" for setting, value in _CHART_VALUES.items() if setting in fix]
    return f"{fix} (in the chart, {', '.join(values)})" if values else fix


def _advice(problem: str) -> str:
    """Return the advice for a problem that has none of its own."""
    words = problem.lower()
    if "nothing was ever promoted" in words:
        return "make deploy trains a version and promotes it"
    if "no model server answers" in words:
        return "the model server starts, or has ended: make logs"
    if "signature" in words or "trusted" in words or "signed" in words:
        return "the signer is not trusted: is signing.existingSecret the right one?"
    return "docs/operating.md lists every state"
