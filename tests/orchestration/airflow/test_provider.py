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
