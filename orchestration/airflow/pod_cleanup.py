"""Delete pods that nobody waits for: failed ones after a while, and those that outlived their DAG run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk import BaseOperator

from orchestration.airflow.config import RELEASE
from orchestration.airflow.operator import RUN_ANNOTATION

__all__ = ["PodCleanupOperator"]

REQUEST_SECONDS = 30
"""How long a request may take. The hook's client retries one three times."""

_OURS = "kubernetes_pod_operator=True,orchard.run/id"
_OVER = ("success", "failed")


class PodCleanupOperator(BaseOperator):
    """Delete the pods of verbs that ended long ago, and those that are still there although their DAG run is over.

    It runs without a pod of its own: the scheduler may list and delete pods anyway.

    Args:
        hours: for which a pod that ended is kept.
        pretend: ``True``: log, delete nothing.
        in_cluster: whether this runs in the cluster whose pods they are.
        config_file: how to reach the cluster otherwise.
        kwargs: of `BaseOperator`.
    """

    template_fields = ("hours", "pretend")

    def __init__(
        self,
        *,
        hours: str,
        pretend: str,
        in_cluster: bool | None = True,
        config_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hours = hours
        self.pretend = pretend
        self.in_cluster = in_cluster
        self.config_file = config_file

    def execute(self, context: Any) -> None:
        """Find and delete them."""
        hook = KubernetesHook(conn_id=None, in_cluster=self.in_cluster, config_file=self.config_file)
        core, namespace = hook.core_v1_client, RELEASE.namespace or hook.get_namespace()
        pods = core.list_namespaced_pod(namespace, label_selector=_OURS, _request_timeout=REQUEST_SECONDS).items
        before = datetime.now(UTC) - timedelta(hours=int(self.hours))
        needless = list(self._needless(pods, before, context["ti"]))
        for pod, why in needless:
            self.log.info("%s %s: %s", "would delete" if self.pretend == "True" else "deleting", pod.metadata.name, why)
            if self.pretend != "True":
                core.delete_namespaced_pod(pod.metadata.name, namespace, _request_timeout=REQUEST_SECONDS)
        self.log.info("%d of %d pods", len(needless), len(pods))

    @staticmethod
    def _needless(pods: list[Any], before: datetime, ti: Any) -> Iterator[tuple[Any, str]]:
        states: dict[tuple[str, str], str | None] = {}
        for pod in pods:
            notes: Mapping[str, str] = pod.metadata.annotations or {}
            if pod.status.phase in ("Succeeded", "Failed"):
                if pod.metadata.creation_timestamp < before:
                    yield pod, f"{pod.status.phase.lower()}, begun {pod.metadata.creation_timestamp:%Y-%m-%d %H:%M}"
                continue
            dag, _, run = notes.get(RUN_ANNOTATION, "").partition("/")
            if run and (dag, run) not in states:
                states[dag, run] = ti.get_dagrun_state(dag, run)
            if states.get((dag, run)) in _OVER:
                yield pod, f"its run {run} of {dag} is over"
