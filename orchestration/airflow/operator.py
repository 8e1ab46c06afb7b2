"""The operator of all tasks: a task is a verb of the `orchard` command, in its own pod.

The chart's pod templates, one for each verb, say what the pod is (image, keys, resources, deadline). This module says how
Airflow runs it, with the reason beside every value that is not the provider's default.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from airflow.sdk import DAG, BaseOperatorLink, Param, chain
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from kubernetes.client import V1EnvVar
from kubernetes.client.exceptions import ApiException

from orchard.runs.steps import STEPS, StepPage, StepSpec, steps_before, steps_of
from orchestration import pod_status
from orchestration.airflow.config import RELEASE
from orchestration.names import run_id
from orchestration.pod_refusals import api_message, is_temporary_refusal

__all__ = [
    "LINKS",
    "POLICY",
    "RELEASE_LABEL",
    "RUN_ANNOTATION",
    "OrchardStepOperator",
    "PageLink",
    "add_steps",
    "day_param",
]

POLICY: dict[str, Any] = {
    "owner": RELEASE.owner,
    "retries": 5,  # 0: every verb finds its earlier results under its run id, so that a retry is harmless
    "retry_delay": timedelta(seconds=15),  # 5 min: with the next line, a store outage of 7 minutes fails no task
    "retry_exponential_backoff": 2.0,  # 0
    "max_retry_delay": timedelta(minutes=5),  # a day
}
"""The `default_args` of every DAG."""

_DAY = "{{ params.day or (data_interval_start or dag_run.run_after) | ds }}"
"""The day whose folder a run handles: the run's parameter, else the first day of its interval."""

_SKIP = {"--skip-code": str(pod_status.SKIPPED)}
"""The option of verbs that may have nothing to do, or be refused: with this exit code, Airflow skips the later tasks."""

START_SECONDS = 1200
"""The default of the time in which a pod must be scheduled, pull its image and start."""

RUN_ANNOTATION = "orchard.run/dag-run"
"""A pod's annotation with its DAG run: ``DAG/RUN``."""

RELEASE_LABEL = "app.kubernetes.io/instance"
"""A pod's label with its Helm release."""

_MARGIN = timedelta(minutes=5)
_REFUSED_SECONDS = 5.0
_REQUEST_SECONDS = 30.0
_START_ANNOTATION = "orchard.pod/start-seconds"


class PageLink(BaseOperatorLink):
    """A link on a task's page to an object that a step of its run wrote.

    Args:
        page: the object; its name is the link's text.
        step: the step that wrote it. This step itself links to the key in its summary; later steps compute the key.
    """

    def __init__(self, page: StepPage, step: str) -> None:
        self.page = page
        self.step = step

    @property
    def name(self) -> str:
        """The link's text."""
        return self.page.name

    @property
    def xcom_key(self) -> str:
        """The XCom key under which Airflow stores the address."""
        return f"link_{self.page.name}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address; empty if there is no such object, or no URL of the bucket."""
        if operator.verb == self.step:
            key = operator.pod_result.links.get(self.page.name, "") if operator.pod_result else ""
        else:
            key = self.page.key.format(run=run_id(ti_key.dag_id, ti_key.run_id))
        return f"{RELEASE.pages}/{key}" if RELEASE.pages and key else ""


def _links(spec: StepSpec) -> tuple[PageLink, ...]:
    """Return the pages of a step and of the steps before it, newest first; none for a step without a page."""
    links: dict[str, PageLink] = {}
    for verb in (*steps_before(spec.verb), spec.verb):
        for page in STEPS[verb].pages:
            links.setdefault(page.name, PageLink(page, verb))
    return tuple(reversed(links.values())) if spec.pages else ()


LINKS = {verb: _links(spec) for verb, spec in STEPS.items()}
"""The links of each verb's task."""


class OrchardStepOperator(KubernetesPodOperator):
    """Run a verb in its own pod.

    Args:
        task_id: the task's id.
        verb: the verb and the name of its pod template; default: the task's id.
        options: the verb's options, by name. Values are templates; empty ones are left out, ``True`` makes a flag.
        kwargs: of `KubernetesPodOperator`; they override ours.

    Raises:
        ValueError: the verb has no pod template.
    """

    template_fields = (*KubernetesPodOperator.template_fields, "options")

    def __init__(
        self, *, task_id: str, verb: str | None = None, options: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        self.verb = verb or task_id
        self.options = dict(options or {})
        self.pod_result: pod_status.PodResult | None = None
        template, spec, start = _template(self.verb)
        deadline, grace = int(spec["activeDeadlineSeconds"]), spec.get("terminationGracePeriodSeconds")
        policy: dict[str, Any] = {
            "pod_template_file": str(template),
            "name": "{{ dag.dag_id }}-" + self.verb,  # what `kubectl get pods` shows
            "namespace": RELEASE.namespace,
            "labels": {
                RELEASE_LABEL: RELEASE.release
            },  # part of the selector: DAGs of two releases have the same names
            "kubernetes_conn_id": None,  # the pod's own service account is enough: no connection to manage
            "in_cluster": True,
            "deferrable": True,  # else a restart of the scheduler kills the pod or trains again
            "do_xcom_push": False,  # its sidecar needs pods/exec; results are objects
            "automount_service_account_token": False,  # a verb does not use the API server
            "termination_message_policy": "FallbackToLogsOnError",  # the reason of an end, even if the log is lost
            "termination_grace_period": grace,  # else a kill waits no longer than 30 s
            "skip_on_exit_code": pod_status.SKIPPED,
            "startup_timeout_seconds": start,  # 120 s: an image of 2 GB, a node that was just added
            "startup_check_interval_seconds": 1,  # 5 s, added to each task
            "poll_interval": 1,  # 2 s, added to each task; one request a second for each of the few running pods
            "logging_interval": 15,  # none: a training's log page would be empty until its end
            "log_events_on_failure": True,  # events name a missing Secret or a full node
            "log_pod_spec_on_failure": False,  # two pages that hide the reason
            "on_finish_action": "delete_succeeded_pod",  # see process_pod_deletion
            # the pod's deadline is the limit; this one is for a pod that neither runs nor ends
            "execution_timeout": timedelta(seconds=start + deadline) + _MARGIN,
        }
        super().__init__(task_id=task_id, **{**policy, **kwargs})
        self.operator_extra_links = LINKS.get(self.verb, ())

    def build_pod_request_obj(self, context: Any = None, *, dry_run: bool = False) -> Any:
        """Build the pod: the template, with the verb's arguments and the run's name."""
        values = {name: value for name, value in self.options.items() if value not in ("", None)}
        options = [name if value == "True" else f"{name}={value}" for name, value in values.items()]
        # Kubernetes would replace $(NAME) by a variable, also in a person's text
        self.arguments = ["step", self.verb, *(option.replace("$(", "$$(") for option in options)]
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        if context is not None:
            dag, user = context["dag"].dag_id, context["dag_run"].triggering_user_name
            run = run_id(dag, context["run_id"])
            actor = f"airflow/{dag}" + (f" for {user}" if user else "")
            # this puts the summary into the pod's status: no sidecar, no exec, and it outlives the log
            summary = "/dev/termination-log"
            _set_variables(pod, {"ORCHARD_RUN_ID": run, "ORCHARD_ACTOR": actor, "ORCHARD_STEP_SUMMARY": summary})
            pod.metadata.labels |= {"orchard.run/id": run, "orchard.run/verb": self.verb}
            # Airflow's own id of the run, which has a colon: labels allow none
            pod.metadata.annotations = (pod.metadata.annotations or {}) | {RUN_ANNOTATION: f"{dag}/{context['run_id']}"}
        return pod

    def find_pod(self, namespace: str, context: Any, *, exclude_checked: bool = True) -> Any:
        """Return the task's newest pod of an earlier try; None if there is none, or it is being deleted.

        The provider adopts a pod that is being deleted, which costs a try, and fails if there are several.
        """
        selector = self._build_find_pod_label_selector(context, exclude_checked=exclude_checked)
        pods = self.client.list_namespaced_pod(
            namespace=namespace, label_selector=selector, _request_timeout=_REQUEST_SECONDS
        ).items
        living = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
        if not living:
            return None
        *older, newest = sorted(living, key=lambda pod: pod.metadata.creation_timestamp)
        for pod in older:
            self.patch_already_checked(pod, reraise=False)
        self.log_matching_pod(pod=newest, context=context)
        return newest

    def _get_pod_from_task_state_store(self, context: Any) -> Any:
        pod = super()._get_pod_from_task_state_store(context)
        return pod if pod is None or pod.metadata.deletion_timestamp is None else None

    def get_or_create_pod(self, pod_request_obj: Any, context: Any) -> Any:
        """Return the pod of an earlier try, or a new one; wait while a quota is used up, as for a full node.

        Raises:
            AirflowException: the cluster refuses the pod.
        """
        if self.find_pod(pod_request_obj.metadata.namespace, context) is None:
            self._await_admission(pod_request_obj)
        return super().get_or_create_pod(pod_request_obj, context)

    def _await_admission(self, pod: Any) -> None:
        """Ask the cluster, without effect, whether it would create the pod: the provider logs a refusal as a page of JSON."""
        deadline, reported = time.monotonic() + self.startup_timeout_seconds, ""
        while True:
            try:
                self.client.create_namespaced_pod(
                    pod.metadata.namespace, pod, dry_run="All", _request_timeout=_REQUEST_SECONDS
                )
                return
            except ApiException as error:
                message = api_message(error)
                if time.monotonic() > deadline or not is_temporary_refusal(error.status or 500, message):
                    raise AirflowException(f"{self.verb}: {pod_status.refused(message)}") from None
                if message != reported:
                    self.log.info("waiting: the cluster refuses the pod: %s", message)
                    reported = message
            time.sleep(_REFUSED_SECONDS)

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:
        """Resume when the pod has ended, cannot start, or vanished.

        Raises:
            AirflowException: the pod vanished.
        """
        if event["status"] == "failed":
            with suppress(ApiException):  # the provider reports a deleted pod
                pod = self.hook.get_pod(event["name"], event["namespace"])
                if self._read(pod).code == pod_status.SKIPPED:  # else a skip is first logged as a failure
                    event, self.log_events_on_failure = {**event, "status": "success"}, False
        try:
            return super().trigger_reentry(context, event)
        except PodNotFoundException:
            pass
        except ApiException as error:
            if error.status != 404:
                raise
        raise AirflowException(f"{self.verb}: {pod_status.vanished(event['name'])}")

    def _clean(self, event: dict[str, Any], result: Any, context: Any) -> None:
        # the provider waits here for the pod's end, unless the event is a timeout; a pod that cannot start never ends
        pending = self.pod is not None and self.pod.status.phase == "Pending"
        super()._clean({**event, "status": "timeout"} if pending else event, result, context)

    def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None) -> None:
        """Delete or keep the pod, and report how it ended.

        Raises:
            AirflowSkipException: the verb had nothing to do, or its model was refused.
            AirflowFailException: it failed, and a retry would fail too.
            AirflowException: it failed.
        """
        if remote_pod and not self._killed:
            self.pod_result = self._read(remote_pod)
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowSkipException:
            raise AirflowSkipException(f"{self.verb}: {self.pod_result.message if self.pod_result else ''}") from None
        except AirflowException:
            if self.pod_result is None:
                raise
            failure = AirflowFailException if self.pod_result.final else AirflowException
            raise failure(f"{self.verb}: {self.pod_result}") from None
        if self.pod_result:
            self.log.info("%s: %s", self.verb, self.pod_result.message)

    def process_pod_deletion(self, pod: Any, *, reraise: bool = True) -> bool:
        """Delete a pod, unless it failed: a failed pod is kept for inspection, until housekeeping or the next release.

        The provider's `delete_succeeded_pod` would also keep a pod whose verb was skipped, and one that never started, which
        could start later without a task.
        """
        skipped = pod is not None and self.pod_result is not None and self.pod_result.code == pod_status.SKIPPED
        if pod is not None and (skipped or pod.status.phase in ("Pending", "Running")):
            self.log.info("Deleting pod %s", pod.metadata.name)
            self.pod_manager.delete_pod(pod)
            return True
        return bool(super().process_pod_deletion(pod, reraise=reraise))

    def _read(self, pod: Any) -> pod_status.PodResult:
        """Read how a pod ended; if it never started, with its newest warning: only this names a missing Secret."""
        warning = ""
        if pod.status.phase == "Pending":
            try:
                events = [event for event in self.pod_manager.read_pod_events(pod).items if event.type == "Warning"]
                warning = f"{events[-1].reason}: {events[-1].message}" if events else ""
            except Exception as error:  # a missing explanation is no failure
                warning = f"its events could not be read: {error}"
        return pod_status.read(self.client.api_client.sanitize_for_serialization(pod), warning=warning)


def day_param() -> Param:
    """Return the parameter `day` of a DAG that handles a day's folder."""
    what = "the folder's day; empty: the first day of the run's interval"
    return Param(None, type=["null", "string"], format="date", title="Day", description=what)


def add_steps(dag: DAG, kind: str, **arguments: Any) -> None:
    """Add the steps of a kind of run to a DAG, a task each, one after the other.

    Args:
        dag: the DAG. A step gets those of its options that are parameters of the DAG.
        kind: the kind of run.
        arguments: of `OrchardStepOperator`, for every task.
    """
    tasks = []
    for spec in steps_of(kind).values():
        parameters = {
            f"--{name.replace('_', '-')}": f"{{{{ params.{name} or '' }}}}"
            for name in spec.options
            if name in dag.params
        }
        if "--day" in parameters:
            parameters["--day"] = _DAY
        options = (_SKIP if spec.skips else {}) | parameters
        tasks.append(OrchardStepOperator(task_id=spec.verb, options=options, dag=dag, **arguments))
    chain(*tasks)


def _set_variables(pod: Any, variables: Mapping[str, str]) -> None:
    """Set variables, before all others, which may refer to them; they replace those of the same name."""
    (base,) = [item for item in pod.spec.containers if item.name == OrchardStepOperator.BASE_CONTAINER_NAME]
    rest = [item for item in base.env or [] if item.name not in variables]
    base.env = [*(V1EnvVar(name=name, value=value) for name, value in variables.items()), *rest]


def _template(verb: str) -> tuple[Path, dict[str, Any], int]:
    """Return a verb's pod template: its path, its spec, and how many seconds the pod may take to start."""
    path = Path(RELEASE.pods) / f"{verb}.yaml"
    try:
        pod = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"there is no pod template {path} for the verb {verb!r}: the chart mounts them in ORCHARD_PODS_DIR"
        ) from None
    annotations = pod["metadata"].get("annotations") or {}
    return path, pod["spec"], int(annotations.get(_START_ANNOTATION, START_SECONDS))
