"""Make a dataset version of a day's new photos.

## Purpose
A day's folder of photos in the bucket (`incoming/<dataset>/<day>/<class>/…`) becomes a new dataset version, which starts
`retrain`. Without new photos, the task is *skipped* and starts nothing.

## Triage
Open the red task: its log ends with the reason and `what to do`. The report names broken photos and photos of an unknown
class, each with a reason. If there are too many of them, nothing is written: correct the folder and clear the task.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
Dataset versions never change: start `retrain` with the number of the previous one.
"""

from datetime import timedelta

from airflow.sdk import DAG

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps, day_param

with DAG(
    "ingest",
    description="a day's new photos → dataset version → retrain",
    doc_md=__doc__,
    schedule=RELEASE.daily_schedule("ingest"),
    catchup=False,
    max_active_runs=1,  # a dataset's versions are written one after the other
    dagrun_timeout=timedelta(hours=12),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.DATA},
    params={"day": day_param()},
) as dag:
    add_steps(dag, "ingest", outlets=[RELEASE.photos])
