"""What each step does once its folder holds what it needs: the verb's command line, and what its end means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from orchard.errors import ConflictError, DataError, GateRefused
from orchard.registry.pointers import ChannelPointer
from orchard.registry.registry import Registry
from orchard.runs import records
from orchard.runs.records import Run
from orchard.runs.steps import PARAMS_FILE
from training.pipeline import checkpoint_sync
from training.pipeline.project_config import FULL
from training.pipeline.run_step import StepAction, StepContext, StepFailed
from training.pipeline.runner import FinishedVerb

__all__ = ["PERFORMERS"]

TRIES = 3
"""How often a run is gated again because others move the channel."""

NO_VERSION = 99
"""The exit code by which `batch` tells its step that there is no version to ask: no error has it."""

PERFORMERS: dict[str, StepAction] = {}
"""The function of every step, by verb."""

Performed = tuple[FinishedVerb, str, str]
Function = TypeVar("Function", bound=StepAction)


def _performs(verb: str) -> Callable[[Function], Function]:
    """Make a function the one that performs a step."""

    def register(function: Function) -> Function:
        PERFORMERS[verb] = function
        return function

    return register


def _done(finished: FinishedVerb) -> Performed:
    return finished, "done", ""


@_performs("validate")
def _validate(work: StepContext, run: Run) -> Performed:
    schema = work.project.schema
    options = ("--schema", str(schema)) if schema else ()
    return _done(work.verb("validate", "--dataset", _dataset(run), *options))


def _dataset(run: Run) -> str:
    if run.dataset is None:
        raise DataError(f"the run {run.run_id} has no dataset")
    return run.dataset.name


@_performs("train")
def _train(work: StepContext, run: Run) -> Performed:
    params = work.root / PARAMS_FILE
    params.parent.mkdir(parents=True, exist_ok=True)
    params.write_text(work.project.params(work.wish.profile or FULL), encoding="utf-8")
    if checkpoint_sync.restore(work.store, work.run_id, work.root, work.reporter):
        work.reporter.note("an earlier attempt left its checkpoint in the store")
    with checkpoint_sync.CheckpointUploader(work.store, work.run_id, work.root, work.reporter):
        return _done(work.verb("train", "--params", PARAMS_FILE, "--set", f"data.name={_dataset(run)}"))


@_performs("evaluate")
def _evaluate(work: StepContext, run: Run) -> Performed:
    return _done(work.verb("evaluate", "--params", PARAMS_FILE))


@_performs("gate")
def _gate(work: StepContext, run: Run, reason: str | None = None) -> Performed:
    force = work.wish.force.strip() if reason is None else reason
    options = ("--override-reason", force) if force else ()
    finished = work.verb("gate", "--params", PARAMS_FILE, *options, accept=(0, GateRefused.exit_code))
    if finished.code:
        return finished, "refused", str(finished.document.get("reason") or finished.complaint)
    return _done(finished)


def _channel(work: StepContext) -> ChannelPointer | None:
    return Registry.open(work.settings).channel(work.settings.channel).read()


@_performs("publish")
def _publish(work: StepContext, run: Run) -> Performed:
    """Publish; where another run has moved the channel since the gate looked, gate again: its verdict says nothing any more."""
    gate = work.before["gate"].result
    forced = str(gate["reason"]) if gate.get("verdict") == "overridden" else ""
    for attempt in range(TRIES):
        if _has_moved(work, gate) and records.recorded(work.store, work.run_id, "publish") is None:
            work.reporter.note(
                f"{work.settings.channel} means another version than the gate compared with: gating again"
            )
            work.pull(run)
            again = _gate(work, run, forced)
            if again[1] != "done":
                return again
            gate = again[0].document
        finished = work.verb("publish", accept=(0, DataError.exit_code) if attempt < TRIES - 1 else (0,))
        if not finished.code:
            return _done(finished)
        if not _has_moved(work, gate):
            break
    raise StepFailed(finished.complaint, finished.code)


def _has_moved(work: StepContext, gate: Mapping[str, Any]) -> bool:
    """Whether the channel means another version than the one that the gate compared with."""
    now = _channel(work)
    return now is not None and now.version != (gate.get("comparison") or {}).get("version")


@_performs("promote")
def _promote(work: StepContext, run: Run) -> Performed:
    version = int(work.before["publish"].result["version"])
    why = work.wish.why or f"run {work.run_id}"
    arguments = ("promote", str(version), "--forward", "--why", why)
    finished = work.verb(*arguments, accept=(0, ConflictError.exit_code))
    if not finished.code:
        return _done(finished)
    now = _channel(work)
    if now is not None and now.version > version:
        of = f", by the run {now.run_id}" if now.run_id else ""
        return (
            finished,
            "superseded",
            f"{now.channel} means version {now.version} already{of}; {version} stays behind it",
        )
    return work.verb(*arguments), "done", ""


def _daily(work: StepContext) -> tuple[str, ...]:
    return ("--day", str(work.wish.day))


@_performs("ingest")
def _ingest(work: StepContext, run: Run) -> Performed:
    schema = work.project.schema
    options = ("--schema", str(schema)) if schema else ()
    split = ("--split", work.wish.split) if work.wish.split else ()
    limit = ("--max-refused", str(work.wish.max_refused)) if work.wish.max_refused is not None else ()
    finished = work.verb("ingest", *_daily(work), *options, *split, *limit)
    document: dict[str, Any] = finished.document
    if document.get("nothing_new"):
        return finished, "skipped", str(document["nothing_new"])
    return _done(finished)


@_performs("batch")
def _batch(work: StepContext, run: Run) -> Performed:
    arguments = ("batch", *_daily(work), f"--skip-code={NO_VERSION}")
    finished = work.verb(*arguments, accept=(0, NO_VERSION))
    if finished.code:
        return finished, "skipped", str(finished.document["no_version"])
    return _done(finished)


@_performs("housekeeping")
def _housekeeping(work: StepContext, run: Run) -> Performed:
    return _done(work.verb("housekeeping", *["--dry-run"] * work.wish.dry_run))
