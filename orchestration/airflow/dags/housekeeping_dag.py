"""Delete what is no longer needed.

## Purpose
Deletes what is no longer needed: blobs of old versions, old captures, files of old runs, tasks' logs, ended pods. Versions
that are served, or that a rollback could need, are never deleted. `dry_run` logs what would be deleted and deletes nothing.

## Triage
Open the red task: its log ends with the reason and `what to do`. Only disk space depends on it. After a killed prune,
publishing may wait: clear the task, and the prune resumes.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
None: a deletion is permanent. If in doubt, pause the DAG and check a dry run.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps
from orchestration.airflow.pod_cleanup import PodCleanupOperator

with DAG(
    "housekeeping",
    description="deletes what is no longer needed",
    doc_md=__doc__,
    schedule=RELEASE.schedule("housekeeping"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.UPKEEP},
    params={
        "dry_run": Param(False, type="boolean", title="Dry run", description="log, delete nothing"),
        "keep_hours": Param(24, type="integer", minimum=0, title="Keep pods", description="hours to keep failed pods"),
    },
) as dag:
    add_steps(dag, "housekeeping")
    PodCleanupOperator(task_id="pods", hours="{{ params.keep_hours }}", log_only="{{ params.dry_run }}")
