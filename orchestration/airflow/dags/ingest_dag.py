"""A day's new photos become a dataset version.

## Purpose
A day's folder of photos in the bucket (`incoming/<dataset>/<day>/<class>/…`) becomes a new dataset version; that starts
`retrain`. No photos, or none that are new: the task is *skipped* and nothing is started.

## Triage
Open the red task: its log ends with the reason and `what to do`. Photos that are broken, or of a class that nobody knows,
are named in the report with a reason each; nothing was written if there were too many of them. Correct the folder and
clear the task.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
Dataset versions are never changed: start `retrain` with the number of the one before.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps

with DAG(
    "ingest",
    description="a day's new photos → dataset version → retrain",
    doc_md=__doc__,
    schedule=RELEASE.daily_schedule("ingest"),
    catchup=False,
    max_active_runs=1,  # versions of a dataset are written one after the other
    dagrun_timeout=timedelta(hours=12),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.DATA},
    params={
        "day": Param(
            None, type=["null", "string"], format="date",
            title="Day", description="whose folder; empty: the day with which the run's interval begins",
        )
    },
) as dag:  # fmt: skip
    add_steps(dag, "ingest", outlets=[RELEASE.photos])
