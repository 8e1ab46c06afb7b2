"""What each step does once its folder holds what it needs: the verb's command line, and what its end means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchard.errors import ConflictError, DataError, GateRefused
from orchard.registry import pointers
from orchard.registry.pointers import ChannelPointer
from orchard.runs import records
from orchard.runs.records import Run
from orchard.signing import load_trusted
from training.pipeline import checkpoint_sync
from training.pipeline.run_step import StepAction, StepContext, StepFailed
from training.pipeline.runner import FinishedVerb
from training.pipeline.step_plan import PARAMS

__all__ = ["PERFORMERS"]

TRIES = 3
"""How often a run is gated again because others move the channel."""

NO_VERSION = 99
"""The exit code by which `batch` tells its step that there is no version to ask: no error has it."""

Performed = tuple[FinishedVerb, str, str]


def _done(finished: FinishedVerb) -> Performed:
    return finished, "done", ""


def _validate(work: StepContext, run: Run) -> Performed:
    schema = work.project.schema
    options = ("--schema", str(schema)) if schema else ()
    return _done(work.verb("validate", "--dataset", _dataset(run), *options))


def _dataset(run: Run) -> str:
    if run.dataset is None:
        raise DataError(f"the run {run.run_id} has no dataset")
    return run.dataset.name


def _train(work: StepContext, run: Run) -> Performed:
    params = work.root / PARAMS
    params.parent.mkdir(parents=True, exist_ok=True)
    params.write_text(work.project.params(work.wish.profile), encoding="utf-8")
    if checkpoint_sync.restore(work.store, work.run_id, work.root, work.note):
        work.note("an earlier attempt left its checkpoint in the store")
    with checkpoint_sync.CheckpointUploader(work.store, work.run_id, work.root, work.note):
        return _done(work.verb("train", "--params", PARAMS, "--set", f"data.name={_dataset(run)}"))


def _evaluate(work: StepContext, run: Run) -> Performed:
    return _done(work.verb("evaluate", "--params", PARAMS))


def _gate(work: StepContext, run: Run, reason: str | None = None) -> Performed:
    force = work.wish.force.strip() if reason is None else reason
    options = ("--override-reason", force) if force else ()
    finished = work.verb("gate", "--params", PARAMS, *options, accept=(0, GateRefused.exit_code))
    if finished.code:
        return finished, "refused", str(finished.document.get("reason") or finished.complaint)
    return _done(finished)


def _channel(work: StepContext) -> ChannelPointer | None:
    settings = work.settings
    trusted = load_trusted(settings.trusted_keys_file)  # type: ignore[arg-type]  # the step required it
    return pointers.read(work.store, settings.model, settings.channel, trusted)


def _publish(work: StepContext, run: Run) -> Performed:
    """Publish; where another run has moved the channel since the gate looked, gate again: its verdict says nothing any more."""
    gate = work.before["gate"].result
    forced = str(gate["reason"]) if gate.get("verdict") == "overridden" else ""
    for attempt in range(TRIES):
        if _has_moved(work, gate) and records.recorded(work.store, work.run_id, "publish") is None:
            work.note(f"{work.settings.channel} means another version than the gate compared with: gating again")
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


def _ingest(work: StepContext, run: Run) -> Performed:
    schema = work.project.schema
    options = ("--schema", str(schema)) if schema else ()
    finished = work.verb("ingest", *_daily(work), *options, *work.wish.more)
    document: dict[str, Any] = finished.document
    if document.get("nothing_new"):
        return finished, "skipped", str(document["nothing_new"])
    return _done(finished)


def _batch(work: StepContext, run: Run) -> Performed:
    arguments = ("batch", *_daily(work), f"--skip-code={NO_VERSION}", *work.wish.more)
    finished = work.verb(*arguments, accept=(0, NO_VERSION))
    if finished.code:
        return finished, "skipped", str(finished.document["no_version"])
    return _done(finished)


def _housekeeping(work: StepContext, run: Run) -> Performed:
    return _done(work.verb("housekeeping", *work.wish.more))


PERFORMERS: dict[str, StepAction] = {
    "validate": _validate,
    "train": _train,
    "evaluate": _evaluate,
    "gate": _gate,
    "publish": _publish,
    "promote": _promote,
    "ingest": _ingest,
    "batch": _batch,
    "housekeeping": _housekeeping,
}
"""By verb."""
