"""Train, check, publish and promote a new version of the model.

## Purpose
Trains the model on a dataset version, evaluates, publishes and promotes it. Runs on schedule and when `ingest` has written
new photos. If the gate refuses, the later tasks are *skipped*: the reason is the last line of the gate task's log.

## Triage
Open the red task: its log ends with the reason and `what to do`. Then clear it: finished steps are not repeated, and
training resumes after its last epoch. A new run repeats everything. `orchard runs` lists all runs with their results.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
`make rollback WHY="…"` (`orchard job rollback --why "…"`): the channel points to the previous version, and servers follow in
seconds. Pause this DAG first if the next run would publish the same again.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps

with DAG(
    "retrain",
    description="dataset → new version of the model, if the gate accepts it",
    doc_md=__doc__,
    schedule=RELEASE.schedule_or_photos("retrain"),
    catchup=False,
    max_active_runs=1,  # a second run waits: two would compete for the channel
    dagrun_timeout=timedelta(days=2),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.MODEL},
    params={
        "dataset_version": Param(
            "latest", type=["string", "integer"], pattern="^(latest|[1-9][0-9]*)$", minimum=1,
            title="Dataset version", description="a number, or latest: the newest when the run starts",
            examples=["latest"],  # else the page shows a box of six lines: it does so for several types without examples
        ),
        "profile": Param(RELEASE.profile, enum=RELEASE.profiles, title="Profile", description="short: to try the loop"),
        "force": Param(
            None, type=["null", "string"], pattern=r"\S.*\S.*\S", minLength=10, maxLength=500,
            title="Publish although the gate refuses", description="the reason, recorded permanently; empty: the gate decides",
        ),
    },
) as dag:  # fmt: skip
    add_steps(dag, "retrain")
