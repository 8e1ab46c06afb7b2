"""A run ends correctly and once, whatever is killed in its middle."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
import yaml

from orchestration.cluster.deploy.deploy_loop import await_live
from tests.e2e.airflow.conftest import DATASET, PARTS, Loop
from tests.e2e.airflow.run_waits import ingest, known
from tests.e2e.job_photos import CLASSES
from tests.e2e.service_traffic import say, until

pytestmark = pytest.mark.timeout(1800)

DAY = "2026-11-22"
KILLED_PARTS = {
    "validate": ("airflow-scheduler", "airflow-processor"),
    "train": ("verb", "airflow-triggerer"),
    "evaluate": ("database",),
    "gate": ("airflow-api",),
    "publish": ("store",),
}
"""The parts that are killed while the task's pod runs, by task."""


def kill(loop: Loop, component: str) -> None:
    """Send SIGKILL to all processes of a part's container, and delete the pod without a grace period."""
    for pod in loop.pods(**{"app.kubernetes.io/component": component}):
        name = pod["metadata"]["name"]
        if pod["status"]["phase"] not in ("Running", "Pending"):
            continue
        container = pod["spec"]["containers"][0]["name"]
        command = loop.release.kubectl_command("exec", name, "-c", container, "--", "sh", "-c", "kill -9 -1")
        subprocess.run(command, capture_output=True, check=False, timeout=60)  # SeaweedFS has a shell, too
        if component != "verb":  # a task's pod ends by the kill, and its status is needed
            loop.release.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")


def running(loop: Loop, run: str, verb: str) -> bool:
    """Whether the pod of a task runs."""
    return any(
        pod["status"]["phase"] == "Running"
        for pod in loop.pods(**{"orchard.run/verb": verb})
        if run in pod["metadata"]["annotations"].get("orchard.run/dag-run", run)
    )


def test_a_run_ends_correctly_and_once_although_every_part_is_killed(loop, first):
    before, known_before = loop.versions(), known(loop)
    loop.upload(
        f"incoming/{DATASET}/{DAY}", loop.of(*CLASSES, skip=1)
    )  # the same photos again would be the same version
    assert ingest(loop, DAY) == "success"
    (run,) = until(lambda: known(loop) - known_before, 300, "a run of retrain")
    for verb, parts in KILLED_PARTS.items():
        until(
            lambda verb=verb: running(loop, run, verb) or loop.ended("retrain", run).get(verb), 600, f"a pod of {verb}"
        )
        for part in parts:
            say(f"{verb}: killing {part}")
            kill(loop, part)
        if "store" in parts:
            loop.release.kubectl(
                "rollout", "status", f"statefulset/{loop.release.fullname}-store", "--timeout=120s", seconds=130
            )

    tasks = loop.await_end("retrain", run, 1200)

    say({name: (task["state"], task["try_number"], task["duration"]) for name, task in tasks.items()})
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    assert len(loop.versions()) == len(before) + 1
    await_live(loop.release, int(loop.ended("retrain", run)["publish"].result["version"]))
    for part in PARTS:
        loop.release.kubectl(
            "rollout", "status", f"deployment/{loop.release.fullname}-airflow-{part}", "--timeout=300s", seconds=310
        )


@pytest.mark.long
def test_two_runs_at_once_wait_for_each_other(loop, first):
    before, names = loop.versions(), [f"e2e-two-{time.time_ns()}-{number}" for number in range(2)]
    for name in names:
        loop.airflow.start("retrain", {"profile": "short"}, name)
    for name in names:
        loop.await_end("retrain", name)

    begin, end = ([loop.airflow.run("retrain", name)[key] for name in names] for key in ("start_date", "end_date"))
    assert begin[1] >= end[0] or begin[0] >= end[1]
    assert loop.versions() == before  # the same photos, seed and code: the same bytes, and no second version of them


def decoy(loop: Loop, dag: str, verb: str, run: str) -> dict[str, Any]:
    """Build a pod as a task of another release would have in this run: same namespace, DAG, task and run."""
    pod: dict[str, Any] = yaml.safe_load(
        loop.release.get("configmap", f"{loop.release.fullname}-pods")[0]["data"][f"{verb}.yaml"]
    )
    labels = {"dag_id": dag, "task_id": verb, "run_id": run, "kubernetes_pod_operator": "True"}
    pod["metadata"] = {"name": f"decoy-{run}", "labels": {**labels, "app.kubernetes.io/instance": "another"}}
    (container,) = pod["spec"]["containers"]
    container |= {"command": ["sleep", "900"], "args": []}
    return {"apiVersion": "v1", "kind": "Pod", **{key: pod[key] for key in ("metadata", "spec")}}


def test_a_task_never_adopts_the_pod_of_another_release(loop, first):
    run = f"e2e-decoy-{time.time_ns()}"
    pod = decoy(loop, "housekeeping", "housekeeping", run)
    loop.release.kubectl("create", "--filename=-", stdin=json.dumps(pod))
    name = pod["metadata"]["name"]
    try:
        loop.airflow.start("housekeeping", {}, run)
        tasks = loop.await_end("housekeeping", run)

        assert {task["state"] for task in tasks.values()} == {"success"}
        (kept,) = loop.release.get("pod", name)
        assert "deletionTimestamp" not in kept["metadata"]
        assert kept["status"]["phase"] in ("Pending", "Running")
    finally:
        loop.release.kubectl("delete", "pod", name, "--grace-period=1", "--ignore-not-found")


def test_housekeeping_leaves_no_pod(loop, first):
    run = loop.airflow.start("housekeeping", {"keep_hours": 0}, f"e2e-{time.time_ns()}")
    tasks = loop.await_end("housekeeping", run)

    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    assert loop.pods(kubernetes_pod_operator="True") == []
    assert loop.objects(f"datasets/{DATASET}/versions")
