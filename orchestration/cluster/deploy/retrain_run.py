"""A run of `retrain`, started from here and followed to its end: the result of each task, and the live version."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchard.runs.steps import STEPS, steps_of
from orchestration.cluster.deploy.airflow_client import follow, reach_airflow
from orchestration.cluster.deploy.deploy_loop import CHANNEL, await_live
from orchestration.cluster.deploy.readiness import await_ready
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.store_access import reach
from orchestration.names import run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchard.reporter import Reporter
    from orchard.runs.records import StepRecord
    from orchard.store import ObjectStore

__all__ = ["RetrainResult", "ended_steps", "retrain"]

DAG = "retrain"
_STATES = {"success": "done", "skipped": "skipped", "failed": "failed", "upstream_failed": "not begun"}
REFUSED = 5
AIRFLOW_SECONDS = 300.0
"""How long Airflow may take to start."""


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """The result of a run.

    Attributes:
        document: for programs.
        text: for people.
        code: the exit code: 0, 5 when the gate refused, 1 when a task failed.
    """

    document: dict[str, Any]
    text: str
    code: int


@contextmanager
def opened_store(release: Release, identity: str) -> Iterator[ObjectStore]:
    """Open the release's store as one of its identities."""
    from orchard.settings import Settings
    from orchard.store import open_store

    with reach(release, identity) as variables:
        names = {name.removeprefix("ORCHARD_").lower(): value for name, value in variables.items()}
        yield open_store(Settings.model_validate({k: v for k, v in names.items() if k.startswith("store_")}))


def ended_steps(release: Release, dag: str, run: str) -> dict[str, StepRecord]:
    """Return the records of the ended steps of a DAG's run, from the store."""
    from orchard.runs import records

    with opened_store(release, "trainer") as store:
        ended = {verb: records.ended_step(store, run_id(dag, run), verb) for verb in STEPS}
    return {verb: record for verb, record in ended.items() if record is not None}


def retrain(release: Release, options: Mapping[str, str], run: str | None, reporter: Reporter) -> RetrainResult:
    """Start a run, unless there is one with this id, and follow it.

    Args:
        release: the release.
        options: parameters of the DAG.
        run: the run's id; None: generate one.
        reporter: prints a line for each change.

    Raises:
        ClusterError: the release has no Airflow, or a parameter is invalid.
    """
    name = run or f"make__{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with reach_airflow(release) as airflow:
        await_ready(release, "airflow-api", reporter.note, seconds=AIRFLOW_SECONDS)
        airflow.start(DAG, options, name)
        reporter.note(f"run {name} of {DAG}; to follow it again: make retrain RUN={name}")

        def show(task: str, state: str, seconds: float) -> None:
            time = f"{seconds:6.1f} s" if seconds else " " * 8
            reporter.note(f"{task:<10} {time}  {_STATES.get(state, state)}")

        ended = follow(airflow, DAG, name, show)
        if ended["state"] == "failed":
            (first, *_) = [item for item in airflow.tasks(DAG, name) if item["state"] == "failed"] or [{}]
            log = airflow.log(DAG, name, first["task_id"], int(first["try_number"])) if first else []
            text = "\n".join((*log[-12:], f"the run {name} failed; the whole log: make airflow"))
            return RetrainResult({"run": name, "state": "failed", "task": first.get("task_id")}, text, 1)
        profile = str((ended.get("conf") or {}).get("profile") or "")
    return _result(release, name, profile)


def _advice(outcome: str, profile: str) -> str:
    """Return what to do about a run that ended early, as a further line; empty: nothing."""
    if outcome != "refused":
        return ""
    short = (
        f"The profile {profile} is for trying the loop; its models rarely pass: leave PROFILE out. "
        if profile == "short"
        else ""
    )
    return f'\n  fix: {short}The gate\'s page has the figures (make airflow); to publish anyway: make retrain FORCE="reason"'


def _result(release: Release, name: str, profile: str) -> RetrainResult:
    """Return the result of a run that ended without an error."""
    ended = ended_steps(release, DAG, name)
    outcomes = {verb: item.outcome for verb, item in ended.items()}
    document: dict[str, Any] = {"run": name, "state": "success", "outcomes": outcomes}
    for verb, spec in steps_of(DAG).items():
        if spec.skips and verb in ended and ended[verb].outcome != "done":
            document |= {"reason": ended[verb].reason}
            code = REFUSED if ended[verb].outcome == "refused" else 0
            text = f"{verb}: {ended[verb].outcome}: {ended[verb].reason}{_advice(ended[verb].outcome, profile)}"
            return RetrainResult(document, text, code)
    if "publish" not in ended:
        text = f"the run {name} ended without an error and without a version: was a task marked by hand?"
        return RetrainResult(document, f"{text} `make airflow` shows its tasks", 1)
    version = int(ended["publish"].result["version"])
    await_live(release, version)
    return RetrainResult({**document, "version": version}, f"version {version} is live on {CHANNEL}", 0)
