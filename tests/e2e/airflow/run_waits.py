"""Wait for runs that a schedule or an asset started; ingest days."""

from __future__ import annotations

import time
from datetime import datetime

from orchestration.cluster.deploy.deploy_loop import await_live
from tests.airflow_requests import list_runs
from tests.e2e.airflow.conftest import Loop
from tests.e2e.service_traffic import until


def retrained(loop: Loop, kind: str, after: set[str]) -> str:
    """Wait for a new run of `retrain`, and for its end."""

    def new_run() -> str:
        new = [item for item in list_runs(loop.airflow, "retrain") if item["dag_run_id"] not in after]
        return next((str(item["dag_run_id"]) for item in new if item["run_type"] == kind), "")

    run = until(new_run, 300, f"a {kind} run of retrain")
    tasks = loop.await_end("retrain", run)
    assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys(tasks, "success"), loop.ended(
        "retrain", run
    )
    return str(run)


def known(loop: Loop) -> set[str]:
    return {str(item["dag_run_id"]) for item in list_runs(loop.airflow, "retrain")}


def live(loop: Loop, run: str) -> int:
    return await_live(loop.release, int(loop.ended("retrain", run)["publish"].result["version"]))


def ingest(loop: Loop, day: str) -> str:
    run = loop.airflow.start("ingest", {"day": day}, f"e2e-{day}-{time.time_ns()}")
    return str(loop.await_end("ingest", run)["ingest"]["state"])


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
