"""Predict a day's photos.

## Purpose
The version that the channel serves predicts every photo of a day's folder (`batch/in/<day>/`): Parquet, CSV and a page
in `batch/out/<day>/`. A finished day is not repeated. Past days, in order, here 18 to 20 November:

    airflow backfill create --dag-id batch_predict --from-date 2026-11-18 --to-date 2026-11-21 --max-active-runs 1

## Triage
Open the red task: its log ends with the reason and `what to do`. A broken photo is not a failure but a row with its reason.
Clear the task: the day continues with the same version and the same photos. *Skipped*: the channel had no version yet, and
the day is not done; once `retrain` has published one, clear the task, or run a backfill.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
Nothing to roll back: the results of a day are written once and name their version.
"""

from datetime import timedelta

from airflow.sdk import DAG

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps, day_param

with DAG(
    "batch_predict",
    description="a day's photos → predictions",
    doc_md=__doc__,
    schedule=RELEASE.daily_schedule("batch"),
    catchup=False,  # past days need a backfill
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.MODEL},
    params={"day": day_param()},
) as dag:
    # a backfill has its own limit of concurrent runs; this limit applies to it too
    add_steps(dag, "batch", max_active_tis_per_dag=1)
