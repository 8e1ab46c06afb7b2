"""Jobs in a cluster: find their template, create them, follow them to their end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchard.errors import ConflictError, OrchardError
from orchard.reporter import Reporter
from orchestration.cluster.kube_client import (
    CONNECT_SECONDS,
    STREAM_SECONDS,
    ClusterConnection,
    ClusterError,
    translate_errors,
)
from orchestration.cluster.manifests import JobPlan, claims, job_manifest, project_map
from orchestration.pod_refusals import refusal_advice
from orchestration.pod_status import obstacle, statuses

__all__ = ["JobFailed", "JobResult", "find_template", "follow", "run", "start"]

_POLL_SECONDS = 0.5


class JobFailed(OrchardError):
    """A Job failed; the exit code is that of its failed step."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """A Job that succeeded: its name, its time in seconds, and how many pods it needed."""

    name: str
    seconds: float
    pods: int


def find_template(cluster: ClusterConnection, component: str, release: str | None) -> dict[str, Any]:
    """Return the chart's pod template for a kind of Job.

    Args:
        cluster: the cluster and namespace.
        component: ``train``, ``synthetic``, or a verb of the registry.
        release: the Helm release; None: the only one in the namespace.

    Raises:
        ClusterError: there is none, or there are several and no release was named.
    """
    selector = f"app.kubernetes.io/name=orchard,app.kubernetes.io/component={component}"
    if release:
        selector += f",app.kubernetes.io/instance={release}"
    with translate_errors(f"listing the pod template of {component}"):
        listed = cluster.core.list_namespaced_pod_template(cluster.namespace, label_selector=selector)
    templates = cluster.plain(listed).get("items", [])
    if not templates:
        of = f" of the release {release!r}" if release else ""
        raise ClusterError(
            f"the namespace {cluster.namespace} has no pod template for {component}{of}",
            hint="is the chart installed there? `helm list -A` lists releases; --namespace and --release choose one; "
            "an older chart may lack it: `helm upgrade`",
        )
    if len(templates) > 1:
        names = sorted(item["metadata"]["labels"]["app.kubernetes.io/instance"] for item in templates)
        raise ClusterError(
            f"{cluster.namespace} has several releases: {', '.join(names)}", hint="--release chooses one"
        )
    template: dict[str, Any] = templates[0]
    return template


def start(cluster: ClusterConnection, template: Mapping[str, Any], plan: JobPlan) -> bool:
    """Create the Job and start it; False if one with this name exists, which continues unchanged.

    Raises:
        ClusterError: the cluster refused a request.
    """
    try:
        with translate_errors(f"creating the Job {plan.name}"):
            job = cluster.plain(cluster.batch.create_namespaced_job(cluster.namespace, job_manifest(template, plan)))
        created = True
    except ConflictError:
        with translate_errors(f"reading the Job {plan.name}"):
            job = cluster.plain(cluster.batch.read_namespaced_job(plan.name, cluster.namespace))
        created = False
    if not job["spec"].get("suspend"):
        return created
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": plan.name, "uid": job["metadata"]["uid"]}
    for claim in claims(template, plan, owner):
        with suppress(ConflictError), translate_errors(f"creating the claim {claim['metadata']['name']}"):
            cluster.core.create_namespaced_persistent_volume_claim(cluster.namespace, claim)
    if plan.project:
        with suppress(ConflictError), translate_errors(f"creating the ConfigMap {plan.name}"):
            document = project_map(plan, owner, job["metadata"].get("labels", {}))
            cluster.core.create_namespaced_config_map(cluster.namespace, document)
    with translate_errors(f"starting the Job {plan.name}"):
        cluster.batch.patch_namespaced_job(plan.name, cluster.namespace, {"spec": {"suspend": False}})
    return created


class _JobFollower:
    """Reports a Job's output, and remembers which containers it has reported."""

    def __init__(self, cluster: ClusterConnection, name: str, reporter: Reporter, patience: float) -> None:
        self.cluster = cluster
        self.name = name
        self.reporter = reporter
        self.patience = patience
        self.shown: set[tuple[str, str]] = set()
        self.waiting = ""
        self.since = time.monotonic()

    def pods(self) -> list[dict[str, Any]]:
        """Return the Job's pods, oldest first."""
        with translate_errors(f"listing the pods of {self.name}"):
            listed = self.cluster.core.list_namespaced_pod(
                self.cluster.namespace, label_selector=f"batch.kubernetes.io/job-name={self.name}"
            )
        items = self.cluster.plain(listed).get("items", [])
        return sorted(items, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def job(self) -> dict[str, Any]:
        """Return the Job's document."""
        with translate_errors(f"reading the Job {self.name}"):
            return self.cluster.plain(self.cluster.batch.read_namespaced_job(self.name, self.cluster.namespace))

    def show(self, pod: Mapping[str, Any]) -> None:
        """Report the output of the pod's started containers, in their order; wait for the running one."""
        for status in statuses(pod):
            key = (pod["metadata"]["uid"], status["name"])
            if key in self.shown or not ("running" in status["state"] or "terminated" in status["state"]):
                continue
            self.shown.add(key)
            self.reporter.note(f"── {status['name']} ({pod['metadata']['name']})")
            for line in _lines(self.cluster, pod["metadata"]["name"], status["name"]):
                self.reporter.note(line)
            self.waiting, self.since = "", time.monotonic()

    def report_obstacle(self, pods: list[dict[str, Any]]) -> None:
        """Report why the newest pod does not start, or why there is none, once for each reason.

        Raises:
            ClusterError: it has not started within `patience` seconds.
        """
        name, refusal = (pods[-1]["metadata"]["name"], "") if pods else (self.name, self._refusal())
        reason = f"the cluster refuses its pods: {refusal}" if refusal else self._obstacle(pods[-1]) if pods else ""
        if reason != self.waiting:
            self.waiting, self.since = reason, time.monotonic()
            if reason:
                self.reporter.note(f"waiting: {reason}")
        if reason and time.monotonic() - self.since > self.patience:
            kind = "pod" if pods else "job"
            raise ClusterError(
                f"{name} has not started for {self.patience:.0f} s: {reason}",
                hint=refusal_advice(refusal)
                if refusal
                else f"kubectl -n {self.cluster.namespace} describe {kind} {name}",
            )

    def _refusal(self) -> str:
        """Return why the cluster refuses the Job's pods: only its events report it."""
        event = self._newest_event(f"involvedObject.kind=Job,involvedObject.name={self.name},reason=FailedCreate")
        return str(event.get("message", ""))

    def _obstacle(self, pod: Mapping[str, Any]) -> str:
        """Return why a pod does not start: its status, else its newest warning, which alone names a missing Secret."""
        known = obstacle(pod)
        if known or pod.get("status", {}).get("phase") != "Pending":
            return known
        event = self._newest_event(f"involvedObject.uid={pod['metadata']['uid']},type=Warning")
        return f"{event.get('reason')}: {event.get('message')}" if event else ""

    def _newest_event(self, selector: str) -> dict[str, Any]:
        try:
            with translate_errors(f"reading the events of {self.name}"):
                listed = self.cluster.core.list_namespaced_event(self.cluster.namespace, field_selector=selector)
        except ClusterError:  # no right to read events: the Job is followed without a reason
            return {}
        events = self.cluster.plain(listed).get("items", [])
        return dict(events[-1]) if events else {}


def follow(cluster: ClusterConnection, name: str, reporter: Reporter, *, patience: float = 300.0) -> JobResult:
    """Report the output of a Job's pods, line by line as they write it, until the Job has ended.

    Args:
        cluster: the cluster and namespace.
        name: the Job's.
        reporter: prints every line.
        patience: how many seconds a pod may wait before it starts.

    Raises:
        JobFailed: the Job failed; the exit code is that of its failed step.
        ClusterError: a pod did not start in time, or the cluster did not answer.
    """
    follower = _JobFollower(cluster, name, reporter, patience)
    condition, pods = _await_end(follower, show=True)
    if condition["type"] == "Failed":
        raise _failure(cluster, name, condition, pods)
    return JobResult(name, _seconds(follower.job(), condition), len(pods))


def run(
    cluster: ClusterConnection, template: Mapping[str, Any], plan: JobPlan, reporter: Reporter, patience: float
) -> tuple[str, int]:
    """Run a Job of one container; it is stopped if this is interrupted or the pod does not start, so that nothing happens later.

    Args:
        cluster: the cluster and namespace.
        template: the pod template.
        plan: the Job.
        reporter: prints why the pod does not start.
        patience: how many seconds the pod may wait before it starts.

    Returns:
        The container's log and its exit code.

    Raises:
        JobFailed: the Job failed, and no container has ended.
        ClusterError: the pod did not start in time, or the cluster refused a request.
    """
    start(cluster, template, plan)
    try:
        condition, pods = _await_end(_JobFollower(cluster, plan.name, reporter, patience), show=False)
    except BaseException:
        _stop(cluster, plan.name, reporter)
        raise
    for pod in reversed(pods):
        for status in statuses(pod):
            if "terminated" in status["state"]:
                with translate_errors(f"reading the log of {pod['metadata']['name']}"):
                    response = cluster.core.read_namespaced_pod_log(
                        pod["metadata"]["name"],
                        cluster.namespace,
                        container=status["name"],
                        _preload_content=False,
                        _request_timeout=(CONNECT_SECONDS, STREAM_SECONDS),
                    )
                    return response.data.decode("utf-8", "replace"), int(status["state"]["terminated"]["exitCode"])
    raise _failure(cluster, plan.name, condition, pods)


def _stop(cluster: ClusterConnection, name: str, reporter: Reporter) -> None:
    """Let a Job end now; it is deleted later, as one that ended by itself."""
    try:
        with translate_errors(f"stopping the Job {name}"):
            cluster.batch.patch_namespaced_job(name, cluster.namespace, {"spec": {"activeDeadlineSeconds": 1}})
    except OrchardError as error:
        reporter.note(f"{error.message}; it may still run: kubectl -n {cluster.namespace} delete job {name}")
    else:
        reporter.note(f"the Job {name} was stopped")


def _await_end(follower: _JobFollower, *, show: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Wait until a Job has ended, and report why its pods do not start; returns the condition that ended it, and its pods."""
    while True:
        job, pods = follower.job(), follower.pods()
        for pod in pods if show else ():
            follower.show(pod)
        for item in job.get("status", {}).get("conditions", []):
            if item["status"] == "True" and item["type"] in ("Complete", "Failed"):
                return item, pods
        follower.report_obstacle(pods)
        time.sleep(_POLL_SECONDS)


def _lines(cluster: ClusterConnection, pod: str, container: str) -> Iterator[str]:
    """Yield a container's log to its end, each line once, also over broken connections."""
    from urllib3.exceptions import HTTPError

    last = ""
    while True:
        try:
            since = {"since_seconds": _age(last)} if last else {}
            with translate_errors(f"reading the log of {pod}"):
                stream = cluster.core.read_namespaced_pod_log(
                    pod,
                    cluster.namespace,
                    container=container,
                    follow=True,
                    timestamps=True,
                    _preload_content=False,
                    _request_timeout=(CONNECT_SECONDS, STREAM_SECONDS),
                    **since,
                )
            for stamp, line in _stamped(stream):
                if stamp > last:
                    last = stamp
                    yield line
        except (
            HTTPError,
            ConflictError,
        ):  # the connection broke; or the container ended meanwhile, which the next read shows
            time.sleep(_POLL_SECONDS)
        with translate_errors(f"reading {pod}"):
            document = cluster.plain(cluster.core.read_namespaced_pod(pod, cluster.namespace))
        if not any(item["name"] == container and "running" in item["state"] for item in statuses(document)):
            return


def _stamped(stream: Any) -> Iterator[tuple[str, str]]:
    """Yield the time and the text of each line."""
    for line in stream:  # urllib3's response yields whole lines
        stamp, _, text = line.decode("utf-8", "replace").removesuffix("\n").partition(" ")
        yield stamp, text


def _age(stamp: str) -> int:
    """Return the whole seconds since a log line's time, rounded up with a margin."""
    then = datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC)
    return max(1, int((datetime.now(UTC) - then).total_seconds()) + 2)


def _seconds(job: Mapping[str, Any], condition: Mapping[str, Any]) -> float:
    begin, end = (
        datetime.fromisoformat(str(text))
        for text in (job["metadata"]["creationTimestamp"], condition["lastTransitionTime"])
    )
    return (end - begin).total_seconds()


def _failure(
    cluster: ClusterConnection, name: str, condition: Mapping[str, Any], pods: list[dict[str, Any]]
) -> JobFailed:
    for pod in reversed(pods):
        for status in statuses(pod):
            code = status["state"].get("terminated", {}).get("exitCode", 0)
            if code:
                reason = status["state"]["terminated"].get("reason", "")
                killed = f" ({reason})" if reason not in ("", "Error") else ""
                return JobFailed(
                    f"the Job {name} failed: its step {status['name']!r} ended with exit code {code}{killed}",
                    hint=f"its output is above; again: kubectl -n {cluster.namespace} logs job/{name} --all-containers",
                    exit_code=code if code < 126 else 1,
                )
    why = condition.get("message") or condition.get("reason", "")
    return JobFailed(
        f"the Job {name} failed: {why}",
        hint=f"kubectl -n {cluster.namespace} describe job {name}",
    )
