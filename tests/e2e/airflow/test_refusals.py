"""Faults are reported soon, with a remedy: wrong parameters, a missing image, node or Secret."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import yaml

from orchestration.cluster.deploy.airflow_client import AirflowRefused
from tests.airflow_requests import list_runs, stop_run
from tests.e2e.airflow.conftest import DATASET, Loop
from tests.e2e.service_traffic import say, until

pytestmark = pytest.mark.timeout(1800)

WRONG = {
    "an invalid version": {"dataset_version": "newest"},
    "an unknown profile": {"profile": "tiny"},
    "a reason that is too short": {"force": "x"},
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_parameters_are_refused_before_anything_runs(loop, case):
    run = f"e2e-wrong-{time.time_ns()}"

    with pytest.raises(AirflowRefused):
        loop.airflow.start("retrain", WRONG[case], run)
    with pytest.raises(AirflowRefused):
        loop.airflow.run("retrain", run)


def test_an_empty_day_is_skipped_and_starts_nothing(loop):
    before = triggered(loop)
    run = loop.airflow.start("ingest", {"day": "2001-01-01"}, f"e2e-empty-{time.time_ns()}")

    assert loop.await_end("ingest", run)["ingest"]["state"] == "skipped"
    assert triggered(loop) == before


def triggered(loop: Loop) -> int:
    """Return how many runs of `retrain` new photos have started; the schedule starts others meanwhile."""
    return sum(item["run_type"] == "asset_triggered" for item in list_runs(loop.airflow, "retrain"))


def test_a_day_of_broken_photos_fails_with_a_remedy(loop):
    day = "2001-01-02"
    loop.upload(f"incoming/{DATASET}/{day}", {f"Training/Kiwi/{number}.jpg": b"no photo" for number in range(5)})
    run = loop.airflow.start("ingest", {"day": day}, f"e2e-broken-{time.time_ns()}")

    task = loop.await_end("ingest", run)["ingest"]

    assert (task["state"], task["try_number"]) == ("failed", 1)  # a retry would fail too: there is none
    assert "what to do" in "\n".join(loop.airflow.log("ingest", run, "ingest", 1))


FAULTS = {
    ("housekeeping", "housekeeping"): ("image", "localhost:5001/nothing:1", ("nothing:1",)),
    ("ingest", "ingest"): ("nodeSelector", {"orchard/nowhere": "true"}, ("node",)),
    ("batch_predict", "batch"): ("secret", "nobody-made-it", ("nobody-made-it",)),
}
"""By DAG and verb: the fault of its pod, and words of the reason."""


def break_template(text: str, what: str, value: object) -> str:
    """Return a pod template that cannot become a running pod."""
    pod = yaml.safe_load(text)
    pod["metadata"]["annotations"]["orchard.pod/start-seconds"] = "30"
    if what == "image":
        pod["spec"]["containers"][0]["image"] = value
    elif what == "secret":
        (volume,) = [item for item in pod["spec"]["volumes"] if item["name"].startswith("key-")]
        volume["secret"]["secretName"] = value
    else:
        pod["spec"][what] = value
    return yaml.safe_dump(pod)


@pytest.fixture
def broken_templates(loop: Loop) -> Iterator[None]:
    """Pods of three verbs cannot start; afterwards they can again."""
    name = f"{loop.release.fullname}-pods"
    good = loop.release.get("configmap", name)[0]["data"]

    def put(data: dict[str, str]) -> None:
        loop.release.kubectl("patch", "configmap", name, "--type=merge", f"--patch={json.dumps({'data': data})}")
        scheduler = f"deployment/{loop.release.fullname}-airflow-scheduler"  # a new pod sees it at once
        loop.release.kubectl("rollout", "restart", scheduler)
        loop.release.kubectl("rollout", "status", scheduler, "--timeout=300s", seconds=310)

    put({f"{verb}.yaml": break_template(good[f"{verb}.yaml"], *case[:2]) for (_, verb), case in FAULTS.items()})
    yield
    put(good)


def waiting(loop: Loop) -> list[str]:
    """Return the pods of these DAGs' tasks that have not ended; failed ones are kept for inspection."""
    pods = [pod for dag, _ in FAULTS for pod in loop.pods(kubernetes_pod_operator="True", dag_id=dag)]
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


def test_pods_that_cannot_start_fail_in_time_with_the_reason(loop, broken_templates):
    begun, runs = time.monotonic(), {}
    for dag, verb in FAULTS:
        conf = {} if dag == "housekeeping" else {"day": "2001-01-03"}
        runs[dag, verb] = loop.airflow.start(dag, conf, f"e2e-cannot-{time.time_ns()}")
    for (dag, verb), run in runs.items():

        def tried(dag: str = dag, verb: str = verb, run: str = run) -> bool:
            states = {task["task_id"]: task["state"] for task in loop.airflow.tasks(dag, run)}
            return states[verb] in ("up_for_retry", "failed")

        until(tried, 400, f"the task of {verb} fails")

        def explained(dag: str = dag, verb: str = verb, run: str = run) -> bool:
            try:
                log = "\n".join(loop.airflow.log(dag, run, verb, 1))
            except AirflowRefused:  # between two tries Airflow does not find the first one's log for a moment
                return False
            return all(word in log for word in (*FAULTS[dag, verb][2], "what to do"))

        until(
            explained, 60, f"the log of {verb} has {FAULTS[dag, verb][2]}, and what to do"
        )  # the log outlives the pod
        stop_run(loop.airflow, dag, run)
    say(f"failed after {time.monotonic() - begun:.0f} s")
    until(lambda: not waiting(loop), 120, "no pod waits any more")
