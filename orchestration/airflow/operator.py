"""The one house operator: a task is a verb of the `orchard` command, run in a pod of its own.

The chart's pod templates, one a verb, hold what a pod looks like (image, keys, resources, deadline). This module holds how
Airflow runs it, with the reason beside every value that is not the provider's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, BaseOperatorLink, chain
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from kubernetes.client import V1EnvVar
from kubernetes.client.exceptions import ApiException

from orchard.runs.steps import STEPS, StepPage, StepSpec, steps_before, steps_of
from orchestration import pod_status
from orchestration.airflow.config import RELEASE
from orchestration.names import run_id

__all__ = ["LINKS", "POLICY", "RUN_ANNOTATION", "OrchardStepOperator", "PageLink", "add_steps"]

POLICY: dict[str, Any] = {
    "owner": RELEASE.owner,
    "retries": 5,  # 0: every verb finds what it did before under its run id, so that a second try is harmless
    "retry_delay": timedelta(seconds=15),  # 5 min: with the next line, a store that is away for 7 minutes fails nothing
    "retry_exponential_backoff": 2.0,  # 0
    "max_retry_delay": timedelta(minutes=5),  # a day
}
"""What every task of a DAG has, for `default_args`."""

_DAY = "{{ params.day or (data_interval_start or dag_run.run_after) | ds }}"
"""The day whose folder a run handles: the one that the run names, else the first of its interval."""

_SKIP = {"--skip-code": str(pod_status.SKIPPED)}
"""The option of verbs that may find nothing to do, or be refused: they end so that Airflow skips what follows."""

START_SECONDS = 1200
"""How long a pod may need to be scheduled, to pull its image and to begin, where its template does not say."""

RUN_ANNOTATION = "orchard.run/dag-run"
"""Where a pod says of which DAG run it is: ``DAG/RUN``."""

_SPARE = timedelta(minutes=5)
_ANNOTATION = "orchard.pod/start-seconds"


class PageLink(BaseOperatorLink):
    """A link on a task's page to what a step of its run left in the bucket.

    Args:
        page: what it leads to; its name is the button's text.
        step: whose it is. That step itself links to the object that its summary names; later steps compute its key.
    """

    def __init__(self, page: StepPage, step: str) -> None:
        self.page = page
        self.step = step

    @property
    def name(self) -> str:
        """What the button says."""
        return self.page.name

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address."""
        return f"link_{self.page.name}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address; empty if there is no such page, or nowhere to look at it."""
        if operator.verb == self.step:
            key = operator.ending.links.get(self.page.name, "") if operator.ending else ""
        else:
            key = self.page.key.format(run=run_id(ti_key.dag_id, ti_key.run_id))
        return f"{RELEASE.pages}/{key}" if RELEASE.pages and key else ""


def _links(spec: StepSpec) -> tuple[PageLink, ...]:
    """The pages of a step and of those before it, newest first; none for a step without a page."""
    found: dict[str, PageLink] = {}
    for verb in (*steps_before(spec.verb), spec.verb):
        for page in STEPS[verb].pages:
            found.setdefault(page.name, PageLink(page, verb))
    return tuple(reversed(found.values())) if spec.pages else ()


LINKS = {verb: _links(spec) for verb, spec in STEPS.items()}
"""What each verb's task links to."""


class OrchardStepOperator(KubernetesPodOperator):
    """Run a verb in a pod of its own.

    Args:
        task_id: of the task.
        verb: the verb and the name of its pod template; the task's id if it is left out.
        options: of the verb, by name. Values are templates; what is empty is left out, what is ``True`` is a flag.
        kwargs: of `KubernetesPodOperator`; they win.

    Raises:
        ValueError: the verb has no pod template.
    """

    template_fields = (*KubernetesPodOperator.template_fields, "options")

    def __init__(
        self, *, task_id: str, verb: str | None = None, options: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        self.verb = verb or task_id
        self.options = dict(options or {})
        self.ending: pod_status.PodResult | None = None
        template, spec, start = _template(self.verb)
        deadline, grace = int(spec["activeDeadlineSeconds"]), spec.get("terminationGracePeriodSeconds")
        policy: dict[str, Any] = {
            "pod_template_file": str(template),
            "name": "{{ dag.dag_id }}-" + self.verb,  # what `kubectl get pods` shows
            "namespace": RELEASE.namespace,
            "kubernetes_conn_id": None,  # the pod's own service account is all that is needed: no connection to keep
            "in_cluster": True,
            "deferrable": True,  # else a restart of the scheduler kills the pod or trains a second time
            "do_xcom_push": False,  # its sidecar needs pods/exec; results are objects
            "automount_service_account_token": False,  # a verb has nothing to say to the API server
            "termination_message_policy": "FallbackToLogsOnError",  # what is known of an end even if its log is lost
            "termination_grace_period": grace,  # else a kill waits no longer than 30 s
            "skip_on_exit_code": pod_status.SKIPPED,
            "startup_timeout_seconds": start,  # 120 s: an image of 2 GB, a node that is only just added
            "startup_check_interval_seconds": 1,  # 5 s, added to each task
            "poll_interval": 1,  # 2 s, added to each task; one request a second for the few pods that run
            "logging_interval": 15,  # none: the page of a training would stay empty until it ends
            "log_events_on_failure": True,  # where a missing Secret or a full node is named
            "log_pod_spec_on_failure": False,  # two pages that hide the reason
            "on_finish_action": "delete_succeeded_pod",  # see process_pod_deletion
            # the pod's deadline is the limit; this one is for a pod that neither runs nor ends
            "execution_timeout": timedelta(seconds=start + deadline) + _SPARE,
        }
        super().__init__(task_id=task_id, **{**policy, **kwargs})
        self.operator_extra_links = LINKS.get(self.verb, ())

    def build_pod_request_obj(self, context: Any = None, *, dry_run: bool = False) -> Any:
        """Build the pod: the template, with the verb's arguments and the run's name."""
        chosen = {name: value for name, value in self.options.items() if value not in ("", None)}
        options = [name if value == "True" else f"{name}={value}" for name, value in chosen.items()]
        # Kubernetes would put a variable for $(NAME), also in what a person wrote
        self.arguments = ["step", self.verb, *(option.replace("$(", "$$(") for option in options)]
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        if context is not None:
            dag, user = context["dag"].dag_id, context["dag_run"].triggering_user_name
            run = run_id(dag, context["run_id"])
            actor = f"airflow/{dag}" + (f" for {user}" if user else "")
            # the summary is then in the pod's status: no sidecar, no exec, and it outlives the log
            summary = "/dev/termination-log"
            _set_variables(pod, {"ORCHARD_RUN_ID": run, "ORCHARD_ACTOR": actor, "ORCHARD_STEP_SUMMARY": summary})
            pod.metadata.labels |= {"orchard.run/id": run, "orchard.run/verb": self.verb}
            # labels hold no colon: whose pod it is, in Airflow's own words
            pod.metadata.annotations = (pod.metadata.annotations or {}) | {RUN_ANNOTATION: f"{dag}/{context['run_id']}"}
        return pod

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        """Resume when the pod has ended, or will not begin."""
        if event["status"] == "failed":
            with suppress(ApiException):  # the provider reports a pod that is gone
                pod = self.hook.get_pod(event["name"], event["namespace"])
                if self._read(pod).code == pod_status.SKIPPED:  # a skip is not logged as a failure first
                    event, self.log_events_on_failure = {**event, "status": "success"}, False
        return super().trigger_reentry(context, event)

    def _clean(self, event: dict[str, Any], result: Any, context: Any) -> None:
        # the provider waits here for a pod to end, unless the event is a timeout; one that cannot begin never ends
        pending = self.pod is not None and self.pod.status.phase == "Pending"
        super()._clean({**event, "status": "timeout"} if pending else event, result, context)

    def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None) -> None:
        """Delete the pod or keep it, and report how it ended.

        Raises:
            AirflowSkipException: the verb had nothing to do, or its model was refused.
            AirflowFailException: it failed, and would fail again.
            AirflowException: it failed.
        """
        if remote_pod and not self._killed:
            self.ending = self._read(remote_pod)
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowSkipException:
            raise AirflowSkipException(f"{self.verb}: {self.ending.said if self.ending else ''}") from None
        except AirflowException:
            if self.ending is None:
                raise
            failure = AirflowFailException if self.ending.final else AirflowException
            raise failure(f"{self.verb}: {self.ending}") from None
        if self.ending:
            self.log.info("%s: %s", self.verb, self.ending.said)

    def process_pod_deletion(self, pod: Any, *, reraise: bool = True) -> bool:
        """Delete a pod, unless it failed: a failed pod is kept for inspection, until housekeeping or the next release.

        The provider's `delete_succeeded_pod` would also keep a pod that never began, which would begin when nobody waits for it,
        and one whose verb was skipped.
        """
        skipped = pod is not None and self.ending is not None and self.ending.code == pod_status.SKIPPED
        if pod is not None and (skipped or pod.status.phase in ("Pending", "Running")):
            self.log.info("Deleting pod %s", pod.metadata.name)
            self.pod_manager.delete_pod(pod)
            return True
        return bool(super().process_pod_deletion(pod, reraise=reraise))

    def _read(self, pod: Any) -> pod_status.PodResult:
        """Read how a pod ended; of one that never began, its newest warning too: nothing else names a missing Secret."""
        warning = ""
        if pod.status.phase == "Pending":
            try:
                events = [event for event in self.pod_manager.read_pod_events(pod).items if event.type == "Warning"]
                warning = f"{events[-1].reason}: {events[-1].message}" if events else ""
            except Exception as error:  # a missing explanation is not a failure of its own
                warning = f"its events could not be read: {error}"
        return pod_status.read(self.client.api_client.sanitize_for_serialization(pod), warning=warning)


def add_steps(dag: DAG, kind: str, **arguments: Any) -> None:
    """Add the steps of a kind of run to a DAG, a task each, one after the other.

    Args:
        dag: the DAG. A step gets those of its options for which this has a parameter.
        kind: of run.
        arguments: of `OrchardStepOperator`, for every task.
    """
    tasks = []
    for spec in steps_of(kind).values():
        given = {
            f"--{name.replace('_', '-')}": f"{{{{ params.{name} or '' }}}}"
            for name in spec.options
            if name in dag.params
        }
        if "--day" in given:
            given["--day"] = _DAY
        options = (_SKIP if spec.skips else {}) | given
        tasks.append(OrchardStepOperator(task_id=spec.verb, options=options, dag=dag, **arguments))
    chain(*tasks)


def _set_variables(pod: Any, variables: Mapping[str, str]) -> None:
    """Put variables before all others, which may refer to them, and in place of those of the same name."""
    (base,) = [item for item in pod.spec.containers if item.name == OrchardStepOperator.BASE_CONTAINER_NAME]
    rest = [item for item in base.env or [] if item.name not in variables]
    base.env = [*(V1EnvVar(name=name, value=value) for name, value in variables.items()), *rest]


def _template(verb: str) -> tuple[Path, dict[str, Any], int]:
    """Find a verb's pod template; returns its path, its spec, and how long the pod may need to begin, in seconds."""
    path = Path(RELEASE.pods) / f"{verb}.yaml"
    try:
        pod = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"there is no pod template {path} for the verb {verb!r}: the chart mounts them where ORCHARD_PODS_DIR says"
        ) from None
    annotations = pod["metadata"].get("annotations") or {}
    return path, pod["spec"], int(annotations.get(_ANNOTATION, START_SECONDS))
