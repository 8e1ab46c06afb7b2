"""The schedule starts runs."""

from __future__ import annotations

import time

import pytest

from orchestration.cluster.deploy.airflow_client import FINISHED
from tests.airflow_requests import list_runs
from tests.e2e.airflow.run_waits import moment
from tests.e2e.service_traffic import until

pytestmark = pytest.mark.timeout(1800)


def test_the_schedule_starts_a_run(loop, first):
    wait = max(0.0, loop.clock - time.time()) + 300

    def scheduled_run() -> str:
        scheduled = [item for item in list_runs(loop.airflow, "retrain") if item["run_type"] == "scheduled"]
        return next((str(item["dag_run_id"]) for item in scheduled if item["state"] in FINISHED), "")

    run = until(scheduled_run, wait + 900, "a scheduled run")
    assert loop.airflow.run("retrain", run)["state"] == "success"
    assert abs(moment(loop.airflow.run("retrain", run)["run_after"]) - loop.clock) < 60
