"""The chart's CronJob that deletes old rows: its own command line, on a real PostgreSQL with Airflow's tables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from conftest import HOME, ROOT

CHART = ROOT / "charts" / "orchard"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def container():
    """The CronJob's container, as helm renders it."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not on the PATH, so the chart cannot be rendered")
    values = ("airflow.enabled=true", "airflow.databaseCleanup.keepDays=60")
    rendered = subprocess.run(
        ["helm", "template", "orchard", CHART, "--kube-version", "1.34", "--set", ",".join(values)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (cron_job,) = (item for item in yaml.safe_load_all(rendered) if item and item["kind"] == "CronJob")
    (base,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return base


@pytest.fixture(scope="module")
def airflow_environment(postgres):
    """Airflow's command on a database of its own, with its tables."""
    postgres.execute("CREATE DATABASE cleanup")
    environment = os.environ | {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.address("cleanup"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }
    subprocess.run(["airflow", "db", "migrate"], env=environment, check=True, capture_output=True, cwd=HOME)
    return environment


def fill(postgres):
    """Insert runs of two DAGs, young and old, and rows of the event log."""
    run = (
        "INSERT INTO dag_run (dag_id, run_id, run_type, state, start_date, run_after, logical_date, clear_number,"
        " backfill_id) VALUES (%s, %s, %s, 'success', %s, %s, %s, 0, NULL)"
    )
    for days in (200, 61, 59, 1):
        when = NOW - timedelta(days=days)
        for kind in ("scheduled", "manual"):
            postgres.execute(
                run,
                "retrain",
                f"{kind}-{days}",
                kind,
                when,
                when,
                when if kind == "scheduled" else None,
                database="cleanup",
            )
        postgres.execute(
            "INSERT INTO log (dttm, dag_id, event, owner) VALUES (%s, 'retrain', 'trigger', 'anna')",
            when,
            database="cleanup",
        )
    when = NOW - timedelta(days=300)
    postgres.execute(run, "ingest", "scheduled-300", "scheduled", when, when, when, database="cleanup")


def test_older_rows_are_deleted_and_the_last_scheduled_run_stays(postgres, container, airflow_environment):
    fill(postgres)
    variables = {item["name"]: item["value"] for item in container["env"] if item["name"] == "KEEP_DAYS"}
    assert variables == {"KEEP_DAYS": "60"}
    assert container["command"] == ["tini", "--", "sh", "-euc"]

    done = subprocess.run(
        ["sh", "-euc", *container["args"]],
        env=airflow_environment | variables, capture_output=True, text=True, check=False, cwd=HOME, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    runs = {name for (name,) in postgres.execute("SELECT run_id FROM dag_run", database="cleanup")}
    assert runs == {"scheduled-300", "scheduled-59", "scheduled-1", "manual-59", "manual-1"}
    assert postgres.execute("SELECT count(*) FROM log WHERE event = 'trigger'", database="cleanup") == [(2,)]
    left = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '\\_airflow\\_deleted%%'"
    assert postgres.execute(left, database="cleanup") == [], "no copies stay"


def test_an_unreachable_database_is_a_failure(container, airflow_environment, postgres):
    nowhere = postgres.address("cleanup").replace(str(postgres.port), "1")

    done = subprocess.run(
        ["sh", "-euc", *container["args"]],
        env=airflow_environment | {"KEEP_DAYS": "60", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": nowhere},
        capture_output=True, text=True, check=False, cwd=HOME, timeout=300,
    )  # fmt: skip

    assert done.returncode != 0
