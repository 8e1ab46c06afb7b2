"""Runs of the DAGs in a real Airflow, with its API, its triggers and its database; pods end as planned."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pendulum
import pytest
from cluster import ended, pending, running, unschedulable
from conftest import HOME


@pytest.fixture
def run(bag, database, cluster, capsys):
    """Run a DAG to its end; returns the states of its tasks and what the run printed."""

    def run_to_end(name, **options):
        from airflow.dag_processing.dagbag import DagBag

        dag = DagBag(dag_folder=bag.dag_folder / f"{name}_dag.py").dags[name]
        for task in dag.tasks:
            task.in_cluster, task.config_file = None, str(HOME / "kubeconfig")
            task.retry_delay, task.retry_exponential_backoff, task.retries = timedelta(0), 0, 1
        result = dag.test(**options)
        return {task.task_id: str(task.state) for task in result.get_task_instances()}, capsys.readouterr().out

    return run_to_end


def verbs(cluster):
    return [pod["metadata"]["labels"]["orchard.run/verb"] for pod in cluster.created]


def variables(pod):
    return {item["name"]: item["value"] for item in pod["spec"]["containers"][0]["env"]}


def test_a_retraining_is_six_pods_of_one_run_which_are_deleted_when_done(run, cluster):
    states, _ = run("retrain", run_conf={"dataset_version": "7", "profile": "short"})

    assert verbs(cluster) == ["validate", "train", "evaluate", "gate", "publish", "promote"]
    assert set(states.values()) == {"success"}
    (run_id,) = {variables(pod)["ORCHARD_RUN_ID"] for pod in cluster.created}
    assert re.fullmatch(r"retrain-manual-[a-z0-9-]+", run_id)
    assert [pod["spec"]["containers"][0]["args"] for pod in cluster.created[:4]] == [
        ["step", "validate", "--dataset-version=7"],
        ["step", "train", "--profile=short"],
        ["step", "evaluate"],
        ["step", "gate", "--skip-code=99"],
    ]
    assert cluster.pods == {}
    assert cluster.refused == []


def test_a_refused_gate_is_skipped_with_its_reason_and_nothing_after_it_runs(run, cluster):
    reason = "refused: turntable accuracy 0.91 is under the threshold of 0.97"
    plans = {"gate": [running(), ended(99, f"asked 2428 photos\n{reason}\n")]}
    cluster.plan = lambda pod: plans.get(pod["metadata"]["labels"]["orchard.run/verb"], [running(), ended(0)])

    states, printed = run("retrain")

    assert states == dict.fromkeys(("validate", "train", "evaluate"), "success") | dict.fromkeys(
        ("gate", "publish", "promote"), "skipped"
    )
    assert reason in printed.partition("Skipping task")[2]
    assert "failing the task" not in printed
    assert cluster.pods == {}


def test_a_day_before_the_first_version_is_skipped_with_the_reason(run, cluster):
    reason = "no version of fruits is on stable yet: run retrain first; the day is not marked done, run it again then"
    summary = {"verb": "batch", "exit_code": 99, "said": reason, "links": {}}
    cluster.plan = lambda pod: [running(), ended(99, json.dumps(summary))]

    states, printed = run("batch_predict")

    assert states == {"batch": "skipped"}
    assert f"batch: {reason}" in printed.partition("Skipping task")[2]
    assert "failing the task" not in printed
    assert len(cluster.created) == 1, "it is not retried"
    assert cluster.pods == {}


FAILURES = {
    "the gate's exit code": (
        [running(), ended(5, "error: refused: 0.91 is under 0.97\n  fix: look at gate/page.html")],
        "batch: refused: 0.91 is under 0.97 (exit code 5)\nwhat to do: look at gate/page.html",
        1,
    ),
    "a summary": (
        [running(), ended(4, json.dumps({"said": "3 of 9 photos refused → correct the folder", "links": {}}))],
        "batch: 3 of 9 photos refused (exit code 4)\nwhat to do: correct the folder",
        1,
    ),
    "the store is away": ([running(), ended(6, "error: the store does not answer")], "is the object store up", 2),
    "memory": ([running(), ended(137, "epoch 3", "OOMKilled")], "raise the verb's resources in the chart", 2),
    "the deadline": (
        [running(), running() | {"phase": "Failed", "reason": "DeadlineExceeded", "message": "was active too long"}],
        "raise the verb's deadline in the chart",
        2,
    ),
    "no image": (
        [pending("ErrImagePull", "manifest unknown")] * 9,
        "its pod did not start: base: ErrImagePull: manifest unknown",
        2,
    ),
    "no node": ([unschedulable("0/1 nodes are available: insufficient memory")] * 9, "no node has room for it", 1),
    "no Secret": ([pending()] * 9, "a Secret or ConfigMap that it mounts is missing", 1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_task_ends_in_time_and_its_log_with_the_reason_and_what_to_do(run, cluster, name):
    plan, message, tries = FAILURES[name]
    cluster.plan = lambda pod: plan
    if name == "no Secret":
        warning = 'MountVolume.SetUp failed for volume "key-batch" : secret "orchard-store-batch" not found'
        cluster.events = [event("FailedMount", warning)]

    states, printed = run("batch_predict")

    assert states == {"batch": "failed"}
    *_, end = printed.partition("Task failed with exception")
    assert message in printed
    assert "what to do: " in end or "what to do: " in printed
    assert len(cluster.created) == tries
    kept = {pod["status"]["phase"] for pod in cluster.pods.values()}
    assert kept <= {"Failed"}, "a pod that never started could start later without a task"


def event(reason, message):
    return {
        "metadata": {"name": "e", "uid": "e", "resourceVersion": "1"},
        "involvedObject": {"fieldPath": "spec"},
        "type": "Warning",
        "reason": reason,
        "message": message,
    }


@pytest.mark.parametrize(
    ("options", "day"),
    [
        ({"logical_date": pendulum.datetime(2026, 11, 19, 8, 15)}, "2026-11-18"),
        ({"run_conf": {"day": "2025-02-28"}}, "2025-02-28"),
    ],
)
def test_a_day_is_the_last_whole_one_or_the_requested_one(run, cluster, options, day):
    run("batch_predict", **options)

    (pod,) = cluster.created
    assert pod["spec"]["containers"][0]["args"] == ["step", "batch", "--skip-code=99", f"--day={day}"]


def test_housekeeping_deletes_pods_that_failed_long_ago_and_keeps_the_others(run, cluster):
    ours = {"app.kubernetes.io/instance": "orchard", "kubernetes_pod_operator": "True", "orchard.run/id": "r"}
    for name, begun, labels in (
        ("old", "2026-01-01T00:00:00Z", ours),
        ("new", "", ours),
        ("other", "2026-01-01T00:00:00Z", {}),
        ("other-release", "2026-01-01T00:00:00Z", {**ours, "app.kubernetes.io/instance": "fruit"}),
    ):
        cluster.create({"metadata": {"name": name, "labels": labels}, "spec": {"containers": []}}, begun)
        cluster.pods[name]["status"] = {"phase": "Failed"}
        cluster._plans[name] = []

    run("housekeeping", run_conf={"dry_run": True})
    assert cluster.deleted == [cluster.created[-1]["metadata"]["name"]], "a dry run deletes nothing but its own pod"
    run("housekeeping")

    assert set(cluster.pods) == {"new", "other", "other-release"}
