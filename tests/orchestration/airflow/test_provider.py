"""The methods of the Kubernetes provider that the operator overrides, private ones too: they exist, and ours have their effect."""

from __future__ import annotations

import inspect
import re
import socket
import time
import tomllib
from importlib.metadata import version

import pytest
from airflow.providers.cncf.kubernetes import kube_client
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from cluster import ended, pending, running
from conftest import HOME, ROOT, context

from orchestration.airflow import pod_cleanup
from orchestration.airflow.operator import OrchardStepOperator

PROVIDER = "apache-airflow-providers-cncf-kubernetes"
OVERRIDDEN = {
    "build_pod_request_obj": "(self, context=None, *, dry_run=False)",
    "find_pod": "(self, namespace, context, *, exclude_checked=True)",
    "_get_pod_from_task_state_store": "(self, context)",
    "get_or_create_pod": "(self, pod_request_obj, context)",
    "trigger_reentry": "(self, context, event)",
    "_clean": "(self, event, result, context)",
    "cleanup": "(self, pod, remote_pod, xcom_result=None, context=None)",
    "process_pod_deletion": "(self, pod, *, reraise=True)",
}


def test_the_provider_is_pinned_to_the_version_that_is_locked_and_installed():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    (pinned,) = [item for item in groups["airflow"] if isinstance(item, str) and item.startswith(PROVIDER)]

    assert pinned == f"{PROVIDER}=={version(PROVIDER)}"
    for lock in ("airflow.txt", "airflow-dev.txt"):
        assert re.search(rf"^{re.escape(pinned)} ", (ROOT / "requirements" / lock).read_text(), re.MULTILINE), lock


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_the_provider_has_each_overridden_method_with_the_signature_that_ours_has(name):
    for owner in (KubernetesPodOperator, OrchardStepOperator):
        signature = inspect.signature(vars(owner)[name])
        plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
        assert str(inspect.Signature(plain)) == OVERRIDDEN[name], owner


def test_every_method_that_is_overridden_is_tested_here():
    ours = {name for name, value in vars(OrchardStepOperator).items() if inspect.isfunction(value)}

    assert {name for name in ours if hasattr(KubernetesPodOperator, name)} - {"__init__"} == set(OVERRIDDEN)


@pytest.fixture
def operator(cluster):
    with DAG("retrain", schedule=None):
        return OrchardStepOperator(task_id="train", in_cluster=None, config_file=str(HOME / "kubeconfig"))


@pytest.fixture
def pod(cluster, operator):
    """A pod in a state, as the provider's hook reads it."""

    def in_state(state):
        cluster.plan = lambda _: [state] * 9
        metadata = {"name": "train", "namespace": "orchard", "labels": {"kubernetes_pod_operator": "True"}}
        cluster.create({"metadata": metadata, "spec": {"containers": [{"name": "base"}]}})
        return operator.hook.get_pod("train", "orchard")

    return in_state


@pytest.fixture
def passed_on(monkeypatch):
    """Record the events that a method of the provider gets."""
    events = []

    def record(name, position):
        monkeypatch.setattr(KubernetesPodOperator, name, lambda self, *arguments: events.append(arguments[position]))
        return events

    return record


def test_a_pod_is_built_with_the_verb_and_the_run(build):
    (base,) = build("train", context=context())["spec"]["containers"]

    assert base["args"] == ["step", "train"]
    assert base["env"][0]["name"] == "ORCHARD_RUN_ID"


@pytest.fixture
def add(cluster):
    """Add a pod of the task, as one of its tries made it."""

    def create(name, created="2026-01-01T00:00:00Z", deleted="", **labels):
        run = {"dag_id": "retrain", "task_id": "train", "run_id": "manual", "kubernetes_pod_operator": "True"}
        own = {"app.kubernetes.io/instance": "orchard", "try_number": "1", **run, **labels}
        spec = {"containers": [{"name": "base"}]}
        pod = cluster.create({"metadata": {"name": name, "namespace": "orchard", "labels": own}, "spec": spec}, created)
        if deleted:
            pod["metadata"]["deletionTimestamp"] = deleted
        pod["status"] = running()

    return create


@pytest.fixture
def asked(operator, monkeypatch):
    """The context of a try, whose labels are those of `add`."""
    labels = {"dag_id": "retrain", "task_id": "train", "run_id": "manual", "kubernetes_pod_operator": "True"}
    monkeypatch.setattr(operator, "_get_ti_pod_labels", lambda *args, **options: labels)
    return context()


def test_a_pod_that_is_being_deleted_is_not_adopted(operator, add, asked):
    add("deleted", deleted="2026-01-01T00:01:00Z")

    assert operator.find_pod("orchard", asked) is None


def test_of_several_pods_of_a_task_the_newest_is_adopted(operator, add, asked, cluster):
    add("older", "2026-01-01T00:00:00Z")
    add("newer", "2026-01-01T00:02:00Z")
    add("deleted", "2026-01-01T00:03:00Z", deleted="2026-01-01T00:04:00Z")

    assert operator.find_pod("orchard", asked).metadata.name == "newer"
    assert operator.find_pod("orchard", asked).metadata.name == "newer"
    assert "already_checked" in cluster.pods["older"]["metadata"]["labels"]


def test_the_pod_of_another_release_or_run_is_not_adopted(operator, add, asked):
    add("other-release", **{"app.kubernetes.io/instance": "fruit"})
    add("other-run", run_id="scheduled")

    assert operator.find_pod("orchard", asked) is None


def test_a_remembered_pod_that_is_being_deleted_is_not_adopted(operator, add, asked):
    class TaskState(dict):
        pass

    add("remembered", deleted="2026-01-01T00:01:00Z")
    remembered = TaskState(pod_identifier={"name": "remembered", "namespace": "orchard"})
    store = type("Store", (), {"get": lambda self, key: next(iter(remembered.values())), "set": lambda *_: None})()

    assert operator._get_pod_from_task_state_store({**asked, "task_state_store": store}) is None


def new_pod(operator):
    return operator.build_pod_request_obj(context())


def test_a_pod_is_created_once_the_quota_allows_it(operator, asked, cluster, monkeypatch):
    monkeypatch.setattr("orchestration.airflow.operator._REFUSED_SECONDS", 0)
    cluster.refusals = [(403, "exceeded quota: few"), (403, "exceeded quota: few"), (503, "starting")]

    operator.get_or_create_pod(new_pod(operator), asked)

    assert len(cluster.created) == 1
    assert cluster.refusals == []


@pytest.mark.parametrize(
    ("status", "message", "advice", "limit"),
    [
        (403, 'violates PodSecurity "restricted:latest"', "the chart keeps the standard", 1200),
        (422, "Pod is invalid: spec.containers[0].image", "correct what the message names", 1200),
        (403, "exceeded quota: few", "raise the ResourceQuota", -1),
    ],
)
def test_a_pod_that_is_refused_fails_with_a_sentence_and_no_page_of_json(
    operator, asked, cluster, status, message, advice, limit
):
    operator.startup_timeout_seconds = limit
    cluster.refusals = [(status, message)]

    with pytest.raises(
        AirflowException, match=f"train: the cluster refused its pod: .*\nwhat to do: {advice}"
    ) as error:
        operator.get_or_create_pod(new_pod(operator), asked)

    assert "apiVersion" not in str(error.value)
    assert cluster.created == []


@pytest.mark.parametrize("status", ["error", "failed", "timeout"])
def test_a_pod_that_vanished_ends_with_a_sentence_and_advice(operator, cluster, status):
    with pytest.raises(AirflowException, match="its pod gone was deleted from outside") as error:
        operator.trigger_reentry(context(), {"status": status, "name": "gone", "namespace": "orchard"})

    assert "what to do: nothing, if the next try succeeds" in str(error.value)
    assert error.value.__cause__ is None


def test_a_pod_that_vanished_after_it_succeeded_is_a_success(operator, cluster):
    operator.trigger_reentry(context(), {"status": "success", "name": "gone", "namespace": "orchard"})


@pytest.mark.parametrize(("code", "status"), [(99, "success"), (5, "failed")])
def test_a_skipped_verb_resumes_as_no_failure(operator, pod, passed_on, code, status):
    events = passed_on("trigger_reentry", 1)
    pod(ended(code))

    operator.trigger_reentry(context(), {"status": "failed", "name": "train", "namespace": "orchard"})

    assert [event["status"] for event in events] == [status]


@pytest.mark.parametrize(("state", "status"), [(pending(), "timeout"), (running(), "failed")])
def test_nobody_waits_for_the_end_of_a_pod_that_cannot_begin(operator, pod, passed_on, state, status):
    events = passed_on("_clean", 0)
    operator.pod = pod(state)

    operator._clean({"status": "failed"}, None, context())

    assert [event["status"] for event in events] == [status]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (99, AirflowSkipException, "train: nothing to do"),
        (5, AirflowFailException, "train: nothing to do \\(exit code 5\\)\nwhat to do: "),
        (6, AirflowException, "train: nothing to do \\(exit code 6\\)\nwhat to do: "),
    ],
)
def test_cleaning_up_raises_what_the_verb_ended_with(operator, pod, code, error, words):
    ended_pod = pod(ended(code, "nothing to do"))

    with pytest.raises(error, match=words) as raised:
        operator.cleanup(ended_pod, ended_pod)

    assert type(raised.value) is error


def test_a_killed_task_is_not_cleaned_up_again(operator, pod, cluster):
    ended_pod = pod(ended(5))
    assert operator._killed is False
    operator.on_kill()
    assert operator._killed is True

    operator.cleanup(ended_pod, ended_pod)

    assert operator.pod_result is None
    assert cluster.deleted == []


@pytest.mark.parametrize(
    ("state", "deleted"), [(pending(), True), (running(), True), (ended(0), True), (ended(5), False), (ended(99), True)]
)
def test_only_a_pod_that_failed_is_kept(operator, pod, cluster, state, deleted):
    document = pod(state)
    operator.pod_result = operator._read(document)

    assert operator.process_pod_deletion(document) is deleted
    assert cluster.deleted == ["train"] * deleted


CALLS = {
    "the operator": lambda operator: operator.hook.get_pod("train", "orchard"),
    "its log": lambda operator: operator.pod_manager.read_pod_events(operator.pod),
    "the cleanup of pods": lambda operator: pod_cleanup.PodCleanupOperator(
        task_id="cleanup", hours="1", log_only="", in_cluster=None, config_file=operator.config_file
    ).execute(context()),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_silent_cluster_ends_every_call(operator, pod, monkeypatch, call):
    operator.pod = pod(running())
    for client in ("hook", "client", "pod_manager"):
        operator.__dict__.pop(client, None)
    monkeypatch.setattr(kube_client, "API_TIMEOUT", 0.2)
    monkeypatch.setattr(pod_cleanup, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(32)
        config = (HOME / "kubeconfig").read_text()
        silent = HOME / "silent"
        silent.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{server.getsockname()[1]}", config))
        operator.config_file = str(silent)
        begin = time.monotonic()
        with pytest.raises(Exception, match=r"[Tt]imed out|Max retries"):
            CALLS[call](operator)

    assert time.monotonic() - begin < 15
