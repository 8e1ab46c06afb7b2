"""Requests to Airflow that only tests send: backfills, the list of runs, the end of a run."""

from __future__ import annotations

from typing import Any

from orchestration.cluster.deploy.airflow_client import AirflowClient

__all__ = ["backfill", "list_runs", "stop_run"]


def backfill(airflow: AirflowClient, dag: str, first: str, last: str) -> int:
    """Run a DAG for past days, one after the other, the oldest first; returns the backfill's id.

    Args:
        airflow: the client.
        dag: the DAG's id.
        first: the first day, ``YYYY-MM-DD``.
        last: the last day, inclusive.
    """
    days = {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z"}
    options = {
        "dag_id": dag,
        "max_active_runs": 1,
        "run_backwards": False,
        "dag_run_conf": {},
        "reprocess_behavior": "none",
    }
    return int(airflow.request("POST", "/backfills", {**options, **days})["id"])


def list_runs(airflow: AirflowClient, dag: str) -> list[dict[str, Any]]:
    """Return the newest hundred runs of a DAG, the newest first."""
    return list(airflow.request("GET", f"/dags/{dag}/dagRuns?order_by=-run_after&limit=100")["dag_runs"])


def stop_run(airflow: AirflowClient, dag: str, run: str) -> None:
    """End a run as failed; Airflow stops its running tasks."""
    airflow.request("PATCH", f"/dags/{dag}/dagRuns/{run}?update_mask=state", {"state": "failed"})
