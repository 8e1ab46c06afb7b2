"""A new version of the model, from a dataset version to the channel that serves it.

## Purpose
A new version of the model: learned from a dataset version, judged, published, promoted. Runs by the clock and when `ingest`
has written new photos. A gate that refuses ends the run *skipped*: the reason is the gate task's last line.

## Triage
Open the red task: its log ends with the reason and `what to do`. Clear it once that is done; finished steps say so and are
not repeated, and training goes on from its last epoch. A new run starts from nothing. `orchard runs` lists all with verdicts.

## Owner
The owner in the list of DAGs (`ORCHARD_OWNER`).

## Rollback
`orchard rollback --why "…"`: the channel points to the version before, servers follow in seconds. Pause this DAG first if
the next run would publish the same again.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from orchestration.airflow.config import RELEASE, DagTag
from orchestration.airflow.operator import POLICY, add_steps

with DAG(
    "retrain",
    description="dataset → new version of the model, if the gate lets it",
    doc_md=__doc__,
    schedule=RELEASE.schedule_or_photos("retrain"),
    catchup=False,
    max_active_runs=1,  # a second run waits: two would publish over each other's head
    dagrun_timeout=timedelta(days=2),
    default_args=POLICY,
    tags={DagTag.ORCHARD, DagTag.MODEL},
    params={
        "dataset_version": Param(
            "latest", type=["string", "integer"], pattern="^(latest|[1-9][0-9]*)$", minimum=1,
            title="Dataset version", description="a number, or latest: what is current when the run begins",
        ),
        "profile": Param(RELEASE.profile, enum=RELEASE.profiles, title="Profile", description="short: a few epochs"),
        "force": Param(
            None, type=["null", "string"], pattern=r"\S.*\S.*\S", minLength=10, maxLength=500,
            title="Publish although the gate refuses", description="the reason, kept for ever; empty: the gate decides",
        ),
    },
) as dag:  # fmt: skip
    add_steps(dag, "retrain")
