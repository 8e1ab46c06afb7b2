"""Whether a part of Airflow that answers no HTTP is alive: how old its last sign in the database is.

A probe, as `python -m orchestration.airflow.liveness TriggererJob`. Airflow's own `airflow jobs check` says the same after
loading all of Airflow: 3.5 seconds of CPU each time, this takes a twentieth of that.
"""

from __future__ import annotations

import os
import sys

import psycopg2

__all__ = ["age", "main"]

TOO_OLD_SECONDS = 120.0
"""A part says that it lives every five seconds; for so long a machine may have been busy with other things."""

_CONNECT_SECONDS = 5


def age(address: str, job: str, host: str) -> float | None:
    """Return how many seconds ago a part of Airflow last said that it lives; None if it never did.

    Args:
        address: of the database, as Airflow's setting has it.
        job: ``SchedulerJob``, ``TriggererJob`` or ``DagProcessorJob``.
        host: the part's name for itself: its pod's address.

    Raises:
        psycopg2.Error: the database does not answer.
    """
    plain = address.replace("postgresql+psycopg2://", "postgresql://", 1)
    connection = psycopg2.connect(plain, connect_timeout=_CONNECT_SECONDS)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job"
                " WHERE job_type = %s AND hostname = %s AND state = 'running'",
                (job, host),
            )
            (found,) = cursor.fetchone() or (None,)
    finally:
        connection.close()
    return None if found is None else float(found)


def main(job: str) -> int:
    """Say how the part of this pod is; returns the exit code.

    A database that does not answer is no reason to restart what waits for it.
    """
    try:
        found = age(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], job, os.environ["POD_IP"])
    except psycopg2.Error as error:
        print(f"the database does not answer, which is not {job}'s fault: {error}")
        return 0
    if found is None:
        print(f"no {job} of {os.environ['POD_IP']} has begun yet")
        return 1
    print(f"{job} last said {found:.0f} s ago that it lives")
    return 0 if found <= TOO_OLD_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
