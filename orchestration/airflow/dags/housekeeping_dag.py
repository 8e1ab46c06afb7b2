"""What nobody can need any more is deleted.

## Purpose
What nobody can need any more is deleted: blobs of versions, old captures, the files of old runs, tasks' logs, ended pods.
What is served, or could be rolled back to, is never touched. `dry_run` tells what would go and deletes nothing.

## Triage
Open the red task: its log ends with the reason and `what to do`. Nothing depends on it but disk space. After a prune that
was killed, publishing may wait: clear the task, it goes on.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
None: what is deleted is gone. Pause the DAG if in doubt, and look at a dry run.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps
from orchestration.airflow.pod_cleanup import PodCleanupOperator

with DAG(
    "housekeeping",
    description="what nobody can need any more is deleted",
    doc_md=__doc__,
    schedule=RELEASE.schedule("housekeeping"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.UPKEEP},
    params={
        "dry_run": Param(False, type="boolean", title="Dry run", description="tell, delete nothing"),
        "keep_hours": Param(
            24, type="integer", minimum=0, title="Keep pods", description="hours for which failed pods stay"
        ),
    },
) as dag:
    add_steps(dag, "housekeeping")
    PodCleanupOperator(task_id="pods", hours="{{ params.keep_hours }}", log_only="{{ params.dry_run }}")
