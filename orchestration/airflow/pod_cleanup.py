"""Deletes pods that are no longer needed: failed ones after some hours, and those that outlived their DAG run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk import BaseOperator

from orchestration.airflow.config import RELEASE
from orchestration.airflow.operator import RELEASE_LABEL, RUN_ANNOTATION

__all__ = ["PodCleanupOperator"]

REQUEST_SECONDS = 30
"""How long a request may take. The hook's client retries it three times."""

_SELECTOR = f"{RELEASE_LABEL}={RELEASE.release},kubernetes_pod_operator=True,orchard.run/id"
_FINISHED = ("success", "failed")


class PodCleanupOperator(BaseOperator):
    """Delete the pods of verbs that ended long ago, and those whose DAG run has ended.

    It needs no pod of its own: the scheduler has the right to list and delete pods.

    Args:
        hours: how long ended pods are kept.
        log_only: ``True``: log, delete nothing.
        in_cluster: whether this runs in the pods' cluster.
        config_file: the kubeconfig otherwise.
        kwargs: of `BaseOperator`.
    """

    template_fields = ("hours", "log_only")

    def __init__(
        self,
        *,
        hours: str,
        log_only: str,
        in_cluster: bool | None = True,
        config_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hours = hours
        self.log_only = log_only
        self.in_cluster = in_cluster
        self.config_file = config_file

    def execute(self, context: Any) -> None:
        """Find and delete the pods."""
        hook = KubernetesHook(conn_id=None, in_cluster=self.in_cluster, config_file=self.config_file)
        core, namespace = hook.core_v1_client, RELEASE.namespace or hook.get_namespace()
        pods = core.list_namespaced_pod(namespace, label_selector=_SELECTOR, _request_timeout=REQUEST_SECONDS).items
        before = datetime.now(UTC) - timedelta(hours=int(self.hours))
        unneeded = list(self._unneeded(pods, before, context["ti"]))
        for pod, reason in unneeded:
            self.log.info(
                "%s %s: %s", "would delete" if self.log_only == "True" else "deleting", pod.metadata.name, reason
            )
            if self.log_only != "True":
                core.delete_namespaced_pod(pod.metadata.name, namespace, _request_timeout=REQUEST_SECONDS)
        self.log.info("%d of %d pods are no longer needed", len(unneeded), len(pods))

    @staticmethod
    def _unneeded(pods: list[Any], before: datetime, ti: Any) -> Iterator[tuple[Any, str]]:
        states: dict[tuple[str, str], str | None] = {}
        for pod in pods:
            annotations: Mapping[str, str] = pod.metadata.annotations or {}
            if pod.status.phase in ("Succeeded", "Failed"):
                if pod.metadata.creation_timestamp < before:
                    yield pod, f"{pod.status.phase.lower()}, created {pod.metadata.creation_timestamp:%Y-%m-%d %H:%M}"
                continue
            dag, _, run = annotations.get(RUN_ANNOTATION, "").partition("/")
            if run and (dag, run) not in states:
                states[dag, run] = ti.get_dagrun_state(dag, run)
            if states.get((dag, run)) in _FINISHED:
                yield pod, f"its run {run} of {dag} has ended"
