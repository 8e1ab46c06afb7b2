"""The liveness probe of Airflow's parts without an HTTP server: the age of their last heartbeat in the database.

Usage: `python -m orchestration.airflow.liveness TriggererJob`. Airflow's own `airflow jobs check` loads
all of Airflow: 3.5 seconds of CPU each time, this takes a twentieth of that.
"""

from __future__ import annotations

import os
import sys

import psycopg2

from orchestration.airflow.database import CONNECT

__all__ = ["age", "main"]

MAX_AGE_SECONDS = 120.0
"""A part writes a heartbeat every five seconds; a busy machine may delay it this long."""

_CONNECT_SECONDS = 5


def age(address: str, job: str, host: str) -> float | None:
    """Return the age in seconds of a part's last heartbeat; None if there is none.

    Args:
        address: the database's, as in Airflow's setting.
        job: ``SchedulerJob``, ``TriggererJob`` or ``DagProcessorJob``.
        host: the part's host name in the database: its pod's address.

    Raises:
        psycopg2.Error: the database does not answer.
    """
    plain = address.replace("postgresql+psycopg2://", "postgresql://", 1)
    connection = psycopg2.connect(plain, **{**CONNECT, "connect_timeout": _CONNECT_SECONDS})
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job"
                " WHERE job_type = %s AND hostname = %s AND state = 'running'",
                (job, host),
            )
            (seconds,) = cursor.fetchone() or (None,)
    finally:
        connection.close()
    return None if seconds is None else float(seconds)


def main(job: str) -> int:
    """Check the part of Airflow in this pod; returns the exit code.

    An unreachable database is no reason to restart the part.
    """
    try:
        seconds = age(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], job, os.environ["POD_IP"])
    except psycopg2.Error as error:
        print(f"the database does not answer, which is not {job}'s fault: {error}")
        return 0
    if seconds is None:
        print(f"{job} of {os.environ['POD_IP']} has no heartbeat yet")
        return 1
    print(f"the last heartbeat of {job} is {seconds:.0f} s old")
    return 0 if seconds <= MAX_AGE_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
