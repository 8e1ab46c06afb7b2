"""A run of `retrain`, begun from here and followed to its end: what each task came to, and which version is live then."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchard.runs.steps import STEPS, steps_of
from orchestration.cluster.deploy.airflow_client import follow, reach_airflow
from orchestration.cluster.deploy.deploy_loop import CHANNEL, await_live
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
_MARKS = {"success": "done", "skipped": "skipped", "failed": "failed", "upstream_failed": "not begun"}
REFUSED = 5


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """What came of a run.

    Attributes:
        document: for programs.
        text: for people.
        code: the exit code: 0, 5 when the gate refused, 1 when a task failed.
    """

    document: dict[str, Any]
    text: str
    code: int


@contextmanager
def opened_store(place: Release, identity: str) -> Iterator[ObjectStore]:
    """Open the release's store as one of its identities."""
    from orchard.settings import Settings
    from orchard.store import open_store

    with reach(place, identity) as found:
        names = {name.removeprefix("ORCHARD_").lower(): value for name, value in found.items()}
        yield open_store(Settings.model_validate({k: v for k, v in names.items() if k.startswith("store_")}))


def ended_steps(place: Release, dag: str, run: str) -> dict[str, StepRecord]:
    """Return how the steps of a DAG's run ended, by what the store says, for those that did."""
    from orchard.runs import records

    with opened_store(place, "trainer") as store:
        found = {verb: records.ended_step(store, run_id(dag, run), verb) for verb in STEPS}
    return {verb: ended for verb, ended in found.items() if ended is not None}


def retrain(place: Release, options: Mapping[str, str], run: str | None, reporter: Reporter) -> RetrainResult:
    """Begin a run, unless there is one of that name, and follow it.

    Args:
        place: the release.
        options: parameters of the DAG.
        run: the run's id; None: made up.
        reporter: prints a line for each change.

    Raises:
        ClusterError: the release has no Airflow, or Airflow does not take the parameters.
    """
    name = run or f"make__{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with reach_airflow(place) as airflow:
        airflow.begin(DAG, options, name)
        reporter.note(f"run {name} of {DAG}; to follow it again: make retrain RUN={name}")

        def show(task: str, state: str, seconds: float) -> None:
            time = f"{seconds:6.1f} s" if seconds else " " * 8
            reporter.note(f"{task:<10} {time}  {_MARKS.get(state, state)}")

        found = follow(airflow, DAG, name, show)
        if found["state"] == "failed":
            (worst, *_) = [item for item in airflow.tasks(DAG, name) if item["state"] == "failed"] or [{}]
            said = airflow.log(DAG, name, worst["task_id"], int(worst["try_number"])) if worst else []
            text = "\n".join((*said[-12:], f"the run {name} failed; the whole log: make airflow"))
            return RetrainResult({"run": name, "state": "failed", "task": worst.get("task_id")}, text, 1)
    return _judged(place, name)


def _judged(place: Release, name: str) -> RetrainResult:
    """Say what a run that ended without an error came to."""
    ended = ended_steps(place, DAG, name)
    outcomes = {verb: item.outcome for verb, item in ended.items()}
    document: dict[str, Any] = {"run": name, "state": "success", "outcomes": outcomes}
    for verb, spec in steps_of(DAG).items():
        if spec.skips and verb in ended and ended[verb].outcome != "done":
            document |= {"reason": ended[verb].reason}
            code = REFUSED if ended[verb].outcome == "refused" else 0
            return RetrainResult(document, f"{verb}: {ended[verb].outcome}: {ended[verb].reason}", code)
    if "publish" not in ended:
        text = f"the run {name} ended without an error, and no version came of it: was a task marked by hand?"
        return RetrainResult(document, f"{text} `make airflow` shows its tasks", 1)
    version = int(ended["publish"].result["version"])
    await_live(place, version)
    return RetrainResult({**document, "version": version}, f"version {version} is live on {CHANNEL}", 0)
