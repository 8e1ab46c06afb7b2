"""The probe of parts without an HTTP server, against a real PostgreSQL with Airflow's own table."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from conftest import ROOT

from orchestration.airflow import liveness

HERE, ELSEWHERE = "10.0.0.7", "10.0.0.8"


@pytest.fixture(scope="module")
def table(postgres):
    """The database, with the table of the heartbeats of Airflow's parts."""
    from airflow.jobs.job import Job
    from sqlalchemy import create_engine

    engine = create_engine(postgres.address())
    with engine.begin() as connection:
        Job.__table__.create(connection)
    engine.dispose()
    yield postgres
    postgres.execute("DROP TABLE job")


@pytest.fixture
def beat(table):
    """Write a part's heartbeat of so many seconds ago."""
    table.execute("DELETE FROM job")

    def heartbeat(seconds, job="TriggererJob", host=HERE, state="running"):
        when = datetime.now(UTC) - timedelta(seconds=seconds)
        table.execute(
            "INSERT INTO job (job_type, hostname, state, latest_heartbeat) VALUES (%s, %s, %s, %s)",
            job, host, state, when,
        )  # fmt: skip

    return heartbeat


def probe(address, job="TriggererJob"):
    """Run the probe as the chart does; returns its exit code and its output."""
    environment = os.environ | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address, "POD_IP": HERE}
    command = [sys.executable, "-m", "orchestration.airflow.liveness", job]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def test_the_age_is_that_of_the_newest_heartbeat_of_this_part_in_this_pod(table, beat):
    assert liveness.age(table.address(), "TriggererJob", HERE) is None
    beat(500)
    beat(30)
    beat(1, job="DagProcessorJob")
    beat(2, host=ELSEWHERE)
    beat(3, state="failed")

    assert liveness.age(table.address(), "TriggererJob", HERE) == pytest.approx(30, abs=5)
    assert liveness.age(table.address(driver=""), "TriggererJob", ELSEWHERE) == pytest.approx(2, abs=5)
    assert liveness.age(table.address(), "SchedulerJob", HERE) is None


@pytest.mark.parametrize(("seconds", "code"), [(5, 0), (110, 0), (130, 1), (100_000, 1)])
def test_a_part_is_alive_as_long_as_its_last_heartbeat_is_young(table, beat, seconds, code):
    beat(seconds)

    exit_code, output = probe(table.address())

    assert exit_code == code
    assert output.startswith("the last heartbeat of TriggererJob is ")


def test_a_part_without_a_heartbeat_is_not_alive(table, beat):
    beat(1, host=ELSEWHERE)

    assert probe(table.address()) == (1, f"TriggererJob of {HERE} has no heartbeat yet\n")


def test_two_parts_at_once_do_not_answer_for_each_other(table, beat):
    beat(1, job="DagProcessorJob")
    beat(400)

    assert (probe(table.address(), "DagProcessorJob")[0], probe(table.address())[0]) == (0, 1)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_database_that_is_away_is_not_the_parts_fault():
    code, output = probe(f"postgresql+psycopg2://airflow:any@127.0.0.1:{free_port()}/airflow")

    assert code == 0
    assert "the database does not answer, which is not TriggererJob's fault" in output


def test_a_database_that_accepts_and_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(liveness, "_CONNECT_SECONDS", 2)  # the least that libpq accepts
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("POD_IP", HERE)
        monkeypatch.setenv(
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"postgresql://airflow@127.0.0.1:{silent.getsockname()[1]}/airflow"
        )

        assert liveness.main("TriggererJob") == 0


def test_a_database_without_tables_yet_is_not_the_parts_fault(postgres):
    code, output = probe(postgres.address("template1"))

    assert code == 0
    assert "does not answer" in output
