"""A day's photos are predicted.

## Purpose
Every photo of a day's folder (`batch/in/<day>/`) is predicted by the version that the channel serves: Parquet, CSV and a page
in `batch/out/<day>/`. A day that is done is not done again. Past days, in order, here 18 to 20 November:

    airflow backfill create --dag-id batch_predict --from-date 2026-11-18 --to-date 2026-11-21 --max-active-runs 1

## Triage
Open the red task: its log ends with the reason and `what to do`. A broken photo is no failure but a row with its reason.
Clear the task: the day goes on with the same version and the same photos. *Skipped*: no version was on the channel yet, and
the day is not done; once `retrain` has published one, clear the task, or run a backfill.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
Nothing to roll back: results of a day are written once and name the version they are from.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps

with DAG(
    "batch_predict",
    description="a day's photos → predictions",
    doc_md=__doc__,
    schedule=RELEASE.daily_schedule("batch"),
    catchup=False,  # a backfill is asked for
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.MODEL},
    params={
        "day": Param(
            None, type=["null", "string"], format="date",
            title="Day", description="whose folder; empty: the day with which the run's interval begins",
        )
    },
) as dag:  # fmt: skip
    # a backfill has its own limit of runs at once; this one holds for it too
    add_steps(dag, "batch", max_active_tis_per_dag=1)
