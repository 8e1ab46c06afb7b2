"""Finds what is wrong with a deployment, from the machine to the model: one sentence each, and what to do."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy.port_forward import status
from orchestration.cluster.deploy.release import Release, run

__all__ = ["Diagnosis", "examine"]

PROGRAMS = ("docker", "kind", "kubectl", "helm")
REGISTRY = "kind-registry"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that is wrong, in a sentence, and what to do about it."""

    wrong: str
    remedy: str


def examine(place: Release, registry_port: int = 5001) -> list[Diagnosis]:
    """Check in the order in which one thing needs another; a fault that hides all later ones ends the search.

    Args:
        place: where the release should be.
        registry_port: of this machine, where the registry should listen.
    """
    for check in (_machine, _cluster):
        if findings := list(check(place)):
            return findings
    findings = list(_registry(registry_port)) if place.context.startswith("kind-") else []
    if missing := list(_release(place)):
        return [*findings, *missing]
    secrets = list(_secrets(place))
    return [*findings, *secrets, *_pods(place), *_jobs(place), *([] if secrets else _sync(place))]


def _machine(place: Release) -> Iterator[Diagnosis]:
    kind = place.context.startswith("kind-")
    for program in PROGRAMS if kind else PROGRAMS[2:]:
        if shutil.which(program) is None:
            yield Diagnosis(f"{program} is not on the PATH.", f"install {program}, then run this again")
    if kind and shutil.which("docker") is not None and not _succeeds("docker", "info"):
        yield Diagnosis(
            "Docker is stopped, or you may not use it.",
            "start it: systemctl start docker; `docker info` says more",
        )


def _cluster(place: Release) -> Iterator[Diagnosis]:
    name = place.context.removeprefix("kind-")
    if place.context.startswith("kind-") and name not in run(["kind", "get", "clusters"]).split():
        yield Diagnosis(f"there is no kind cluster {name}.", "make deploy makes it")
    elif place.context not in run(["kubectl", "config", "get-contexts", "--output=name"]).split():
        yield Diagnosis(
            f"the kubeconfig has no context {place.context}.",
            f"kind export kubeconfig --name {name}" if place.context.startswith("kind-") else "name another: CONTEXT=…",
        )
    elif not _succeeds("kubectl", "--context", place.context, "--request-timeout=5s", "get", "--raw", "/readyz"):
        yield Diagnosis(
            f"the cluster of {place.context} does not answer.",
            "scripts/cluster up starts it" if place.context.startswith("kind-") else "kubectl cluster-info says more",
        )


def _registry(port: int) -> Iterator[Diagnosis]:
    published = run(["docker", "ps", "--filter", f"name=^{REGISTRY}$", "--format", "{{.Ports}}"]).strip()
    if published and f":{port}->" not in published:
        yield Diagnosis(f"the registry {REGISTRY} is published at {published}, not at port {port}.", "REGISTRY_PORT=…")
    elif not published and _listens(port):
        yield Diagnosis(
            f"port {port} is in use, and not by the registry {REGISTRY}.",
            f"stop what listens there (ss -ltnp 'sport = :{port}' names it), or REGISTRY_PORT=5002",
        )
    elif not published:
        yield Diagnosis(f"the registry {REGISTRY} is not running.", "scripts/cluster up starts it")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _succeeds(*command: str) -> bool:
    try:
        run(command, seconds=20)
    except ClusterError:
        return False
    return True


def _release(place: Release) -> Iterator[Diagnosis]:
    for item in json.loads(place.helm("list", "--all", "--output=json")):
        if item["name"] != place.release:
            continue
        if not item["chart"].startswith("orchard-"):
            yield Diagnosis(
                f"{place.release} in {place.namespace} is another chart, {item['chart']}.", "choose another NAMESPACE=…"
            )
        elif item["status"] != "deployed":
            yield Diagnosis(
                f"the release {place.release} is {item['status']}.",
                f"helm history {place.release} -n {place.namespace} says why; make deploy tries again",
            )
        return
    yield Diagnosis(f"{place.namespace} holds no release {place.release}.", "make deploy installs it")


def _secrets(place: Release) -> Iterator[Diagnosis]:
    """Secrets that pods mount and that are not there, or lack a key."""
    checked = set()
    for item in place.get("deployments,statefulsets,podtemplates"):
        spec = (item.get("template") or item["spec"]["template"])["spec"]
        for volume in spec.get("volumes", []):
            if "secret" in volume and volume["secret"]["secretName"] not in checked:
                checked.add(volume["secret"]["secretName"])
                yield from _secret(place, volume["secret"])


def _secret(place: Release, wanted: dict[str, Any]) -> Iterator[Diagnosis]:
    name = wanted["secretName"]
    try:
        held = place.secret(name)
    except ClusterError:
        yield Diagnosis(
            f"the Secret {name} is missing: pods that need it wait for it.",
            "helm upgrade makes it again where the chart makes it (delete the Job *-keys-* first); else restore your own",
        )
        return
    needed = {item["key"] for item in wanted.get("items", [])} or (
        {"credentials"} if not name.endswith("-server") else set()
    )
    for key in sorted(needed - set(held)):
        yield Diagnosis(f"the Secret {name} has no entry {key}.", "it was not made by this chart: add the entry")


def _pods(place: Release) -> Iterator[Diagnosis]:
    """Containers that do not run, with the kubelet's reason."""
    for pod in place.get("pods"):
        name, state = pod["metadata"]["name"], pod.get("status", {})
        for condition in state.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield Diagnosis(
                    f"{name} fits on no node: {condition.get('message', '')}",
                    "make room, or lower its resource requests",
                )
        for item in (*state.get("initContainerStatuses", []), *state.get("containerStatuses", [])):
            yield from _container(place, name, item)


def _container(place: Release, pod: str, item: dict[str, Any]) -> Iterator[Diagnosis]:
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
        last = _last_line(place, pod, item["name"])
        yield Diagnosis(
            f"{pod}, {item['name']} ends again and again (code {before.get('exitCode')}): {last}",
            "correct that, then make deploy",
        )


def _last_line(place: Release, pod: str, container: str) -> str:
    try:
        lines = place.kubectl("logs", pod, "-c", container, "--previous", "--tail=5").strip().splitlines()
    except ClusterError:
        lines = []
    return lines[-1] if lines else "it wrote nothing"


def _jobs(place: Release) -> Iterator[Diagnosis]:
    for job in place.get("jobs"):
        for condition in job.get("status", {}).get("conditions", []):
            if condition["type"] == "Failed" and condition["status"] == "True":
                name = job["metadata"]["name"]
                yield Diagnosis(
                    f"the Job {name} failed: {condition.get('message', condition.get('reason', ''))}",
                    f"kubectl -n {place.namespace} logs job/{name} --all-containers; then make deploy",
                )


def _sync(place: Release) -> Iterator[Diagnosis]:
    """What the model server's pods report: the store's keys, bucket and address, signatures, versions."""
    reported = set()
    for pod in place.serving_pods():
        try:
            document: dict[str, Any] = status(place, pod)
        except ClusterError as error:
            yield Diagnosis(f"{pod}: {error.message}", f"kubectl -n {place.namespace} describe pod {pod}")
            continue
        for where, problem in document["problems"].items():
            if str(problem) not in reported:
                reported.add(str(problem))
                yield Diagnosis(f"{pod}, {where}: {problem}", _advice(str(problem), document["store"]["name"]))
        for refusal in document["refused"]:
            yield Diagnosis(
                f"{pod} refused version {refusal['version']}: {refusal['reason']}", "publish a sound one, or roll back"
            )


def _advice(problem: str, store: str) -> str:
    words = problem.lower()
    if "nothing was ever promoted" in words:
        return "make deploy trains a version and promotes it"
    if "no model server answers" in words:
        return "the model server is starting or has ended: make logs"
    if "bucket" in words:
        return f"is the bucket there, and its name right? {store}; helm upgrade makes it where the chart may"
    if any(
        word in words for word in ("denied", "forbidden", "credential", "refused", "403", "accesskey", "signature does")
    ):
        return f"is the bucket there and its name right ({store}), and is the key in the Secret of `sync` one that the store knows?"
    if "signature" in words or "trusted" in words or "signed" in words:
        return "the signer is not trusted: is signing.existingSecret the right one?"
    if any(word in words for word in ("answer", "connect", "unavailable", "resolve", "timed out")):
        return f"is the store up, and its address right? {store} (objectStore.endpoint)"
    return "docs/operating.md lists every state"
