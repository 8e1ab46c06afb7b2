"""The action of each step: the verb's command line, and the outcome that its exit code stands for."""

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
from training.pipeline.run_step import ActionResult, StepAction, StepContext, StepFailed
from training.pipeline.runner import FinishedVerb

__all__ = ["ACTIONS"]

TRIES = 3
"""How often a run is gated again because another run has moved the channel."""

NO_VERSION = 99
"""The exit code of `batch` where the channel has no version. No error has this code."""

ACTIONS: dict[str, StepAction] = {}
"""The function of every step, by verb."""

Action = TypeVar("Action", bound=StepAction)


def _action(verb: str) -> Callable[[Action], Action]:
    """Register a function as the action of a step."""

    def register(function: Action) -> Action:
        ACTIONS[verb] = function
        return function

    return register


def _done(finished: FinishedVerb) -> ActionResult:
    return finished, "done", ""


@_action("validate")
def _validate(work: StepContext, run: Run) -> ActionResult:
    return _done(work.verb("validate", "--dataset", _dataset(run), *_schema_option(work)))


def _schema_option(work: StepContext) -> tuple[str, ...]:
    schema = work.project.schema
    return ("--schema", str(schema)) if schema else ()


def _dataset(run: Run) -> str:
    if run.dataset is None:
        raise DataError(f"the run {run.run_id} has no dataset")
    return run.dataset.name


@_action("train")
def _train(work: StepContext, run: Run) -> ActionResult:
    params = work.root / PARAMS_FILE
    params.parent.mkdir(parents=True, exist_ok=True)
    params.write_text(work.project.params(work.options.profile or FULL), encoding="utf-8")
    if checkpoint_sync.restore(work.store, work.run_id, work.root, work.reporter):
        work.reporter.note("downloaded the checkpoint of an earlier attempt")
    with checkpoint_sync.CheckpointUploader(work.store, work.run_id, work.root, work.reporter):
        return _done(
            work.verb("train", "--params", PARAMS_FILE, "--set", f"data.name={_dataset(run)}", *_schema_option(work))
        )


@_action("evaluate")
def _evaluate(work: StepContext, run: Run) -> ActionResult:
    return _done(work.verb("evaluate", "--params", PARAMS_FILE, *_schema_option(work)))


@_action("gate")
def _gate(work: StepContext, run: Run, reason: str | None = None) -> ActionResult:
    override = work.options.force.strip() if reason is None else reason
    options = ("--override-reason", override) if override else ()
    finished = work.verb("gate", "--params", PARAMS_FILE, *options, accept=(0, GateRefused.exit_code))
    if finished.code:
        return finished, "refused", str(finished.document.get("reason") or finished.error_text)
    return _done(finished)


def _channel(work: StepContext) -> ChannelPointer | None:
    return Registry.open(work.settings).channel(work.settings.channel).read()


@_action("publish")
def _publish(work: StepContext, run: Run) -> ActionResult:
    """Publish. Gate again first if another run has moved the channel since: the old verdict is then worthless."""
    gate = work.earlier["gate"].result
    forced = str(gate["reason"]) if gate.get("verdict") == "overridden" else ""
    for attempt in range(TRIES):
        if _has_moved(work, gate) and records.recorded(work.store, work.run_id, "publish") is None:
            work.reporter.note(
                f"{work.settings.channel} no longer points to the version that the gate compared with: gating again"
            )
            work.pull(run)
            regated = _gate(work, run, forced)
            if regated[1] != "done":
                return regated
            gate = regated[0].document
        finished = work.verb("publish", accept=(0, DataError.exit_code) if attempt < TRIES - 1 else (0,))
        if not finished.code:
            return _done(finished)
        if not _has_moved(work, gate):
            break
    raise StepFailed(finished.error_text, exit_code=finished.code)


def _has_moved(work: StepContext, gate: Mapping[str, Any]) -> bool:
    """Whether the channel points to another version than the one that the gate compared with."""
    now = _channel(work)
    return now is not None and now.version != (gate.get("comparison") or {}).get("version")


@_action("promote")
def _promote(work: StepContext, run: Run) -> ActionResult:
    version = int(work.earlier["publish"].result["version"])
    why = work.options.why or f"run {work.run_id}"
    arguments = ("promote", str(version), "--forward", "--why", why)
    finished = work.verb(*arguments, accept=(0, ConflictError.exit_code))
    if not finished.code:
        return _done(finished)
    now = _channel(work)
    if now is not None and now.version > version:
        by = f", promoted by the run {now.run_id}" if now.run_id else ""
        reason = f"{now.channel} already points to version {now.version}{by}; version {version} is not promoted"
        return finished, "superseded", reason
    return work.verb(*arguments), "done", ""


@_action("ingest")
def _ingest(work: StepContext, run: Run) -> ActionResult:
    split = ("--split", work.options.split) if work.options.split else ()
    limit = ("--max-refused", str(work.options.max_refused)) if work.options.max_refused is not None else ()
    finished = work.verb("ingest", "--day", str(work.options.day), *_schema_option(work), *split, *limit)
    document: dict[str, Any] = finished.document
    if document.get("nothing_new"):
        return finished, "skipped", str(document["nothing_new"])
    return _done(finished)


@_action("batch")
def _batch(work: StepContext, run: Run) -> ActionResult:
    arguments = ("batch", "--day", str(work.options.day), f"--skip-code={NO_VERSION}")
    finished = work.verb(*arguments, accept=(0, NO_VERSION))
    if finished.code:
        return finished, "skipped", str(finished.document["no_version"])
    return _done(finished)


@_action("housekeeping")
def _housekeeping(work: StepContext, run: Run) -> ActionResult:
    return _done(work.verb("housekeeping", *["--dry-run"] * work.options.dry_run))
