"""One step of a run, from an empty folder to a record in the store; done again, it finds its record and does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchard import layout
from orchard.documents import FORMAT, canonical_json
from orchard.errors import DataError, GateRefused, OrchardError
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.runs.records import Artifact, PinnedDataset, Run, StepRecord
from orchard.runs.steps import STEPS, StepSpec, steps_before
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.pipeline.artifacts import fetch, send
from training.pipeline.project_config import FULL, ProjectConfig
from training.pipeline.runner import TERMINATED, FinishedVerb, VerbRunner

__all__ = ["StepContext", "StepFailed", "StepOptions", "StepResult", "perform"]

KINDS = {".html": "text/html; charset=utf-8", ".json": "application/json"}
MARK = Path(".orchard") / "step" / "run"


class StepFailed(OrchardError):
    """The verb of a step failed; what it said of it stands in the log already.

    Args:
        message: what it said of it.
        exit_code: the verb's.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What a step was asked for beside its verb.

    Attributes:
        dataset_version: the dataset's version; None: the current one when the run begins.
        profile: which parameters to train with.
        force: accept what the gate refuses, for this reason; empty: do not.
        why: the reason of a promotion.
        day: the day to work on.
        split: the split that the day's photos go to; None: as the folder says.
        max_refused: the share of photos that may be refused; None: the default of `orchard ingest`.
        dry_run: only report what would be deleted.
    """

    dataset_version: int | None = None
    profile: str = FULL
    force: str = ""
    why: str = ""
    day: str | None = None
    split: str | None = None
    max_refused: float | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step came to.

    Attributes:
        ended: how it ended.
        before: whether it had before.
        line: the last that its verb said, if it was run now.
    """

    ended: StepRecord
    before: bool
    line: str = ""


@dataclass(frozen=True, slots=True)
class StepContext:
    """A step at work.

    Attributes:
        step: which.
        wish: what it was asked for.
        settings: where things are.
        store: the store.
        run_id: the run's name.
        project: the project's files.
        runner: runs verbs.
        root: the folder that it works in.
        reporter: reports progress.
        before: how the steps before it ended.
    """

    step: StepSpec
    wish: StepOptions
    settings: Settings
    store: ObjectStore
    run_id: str
    project: ProjectConfig
    runner: VerbRunner
    reporter: Reporter
    root: Path = Path()
    before: dict[str, StepRecord] = field(default_factory=dict)

    def pull(self, run: Run) -> None:
        """Bring exactly the dataset version that the run has fixed."""
        if run.dataset is None:
            raise DataError(f"the run {self.run_id} has no dataset")
        self.verb("pull", "--version", str(run.dataset.version), "--dataset", run.dataset.name)

    def verb(self, *arguments: str, accept: Sequence[int] = (0,)) -> FinishedVerb:
        """Run a verb. Raises `StepFailed` unless it ends with one of the exit codes in `accept`."""
        finished = self.runner.run(*arguments)
        if self.runner.asked and finished.code not in accept:
            raise StepFailed(f"`orchard {arguments[0]}` was asked to end", TERMINATED)
        if finished.code not in accept:
            raise StepFailed(finished.complaint, finished.code)
        return finished


StepAction = Callable[[StepContext, Run], tuple[FinishedVerb, str, str]]
"""What a step does once everything is there; returns how its verb ended, the outcome and the reason."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def perform(
    verb: str,
    wish: StepOptions,
    settings: Settings,
    performer: StepAction,
    reporter: Reporter,
    *,
    project: ProjectConfig | None = None,
) -> StepResult:
    """Do a step of the run that the settings name, unless it has been done.

    Args:
        verb: which step.
        wish: what it was asked for.
        settings: where the store is, whose run it is.
        performer: what the step does.
        reporter: reports progress.
        project: the project's files; None: where they usually are.

    Raises:
        StepFailed: its verb failed, with the verb's exit code.
        DataError: a step before it has not ended, there is no such dataset, or the folder holds other things.
        GateRefused: the gate refused the candidate in a step before.
        ConflictError: the run is of another kind.
        IntegrityError: what an earlier step left is damaged.
        StoreError: the store did not answer.
    """
    step = STEPS[verb]
    settings.require("run_id", "store_url", *step.settings)
    store, run_id = open_store(settings), str(settings.run_id)
    kept = records.ended_step(store, run_id, verb)
    if kept is not None and not _may_end_otherwise(verb, wish, kept):
        return StepResult(kept, before=True)
    with VerbRunner() as runner:
        work = StepContext(step, wish, settings, store, run_id, project or ProjectConfig(), runner, reporter)
        work.before.update(_require_before(store, run_id, step))
        run = _begun(work)
        _require_own_folder(work.root, run_id)
        started = _now()
        try:
            return _work(work, run, performer, started)
        except OrchardError as error:
            _keep_failure(work, error)
            raise


def _may_end_otherwise(verb: str, wish: StepOptions, kept: StepRecord) -> bool:
    """Whether a step that has ended is done again all the same."""
    if kept.outcome == "refused":
        return bool(wish.force.strip())
    return kept.outcome == "skipped" and STEPS[verb].retry_if_skipped


def _work(work: StepContext, run: Run, performer: StepAction, started: str) -> StepResult:
    if work.step.dataset:
        work.pull(run)
    for name in work.step.inputs:
        parcel = work.before[name].files
        if parcel is not None:
            fetch(work.store, parcel, work.root, STEPS[name].outputs)
    finished, outcome, reason = performer(work, run)
    work.runner.patient = True
    files = send(work.store, work.run_id, work.step.verb, work.root, work.step.outputs) if work.step.outputs else None
    ended = _ended(outcome, reason, started, finished, files, _send_pages(work))
    kept = records.end_step(work.store, work.run_id, work.step.verb, ended)
    return StepResult(kept, before=False, line=finished.words[-1] if finished.words else "")


def _ended(
    outcome: str, reason: str, started: str, finished: FinishedVerb, files: Artifact | None, pages: tuple[str, ...]
) -> StepRecord:
    return StepRecord(outcome, reason, started, _now(), round(finished.seconds, 3), finished.document, files, pages)  # type: ignore[arg-type]  # decoded again when it is read


def _require_before(store: ObjectStore, run_id: str, step: StepSpec) -> Mapping[str, StepRecord]:
    """How the steps before this one ended, all of them well."""
    found: dict[str, StepRecord] = {}
    for name in dict.fromkeys((*step.inputs, *steps_before(step.verb)[-1:])):
        ended = records.ended_step(store, run_id, name)
        if ended is None:
            raise DataError(
                f"the step `{name}` of the run {run_id} has not ended, and `{step.verb}` comes after it",
                hint=f"`orchard step {name}` with the same ORCHARD_RUN_ID",
            )
        if ended.outcome == "refused":
            raise GateRefused(f"the run {run_id} ended before `{step.verb}`: {ended.reason}")
        found[name] = ended
    return found


def _begun(work: StepContext) -> Run:
    """What the run is about; its first step fixes it."""
    found = records.read(work.store, work.run_id) if steps_before(work.step.verb) else None
    if found is not None:
        return found
    settings, kind = work.settings, work.step.kind
    run = Run(
        FORMAT,
        work.run_id,
        kind,
        _fixed(work) if kind == "retrain" else None,
        settings.model,
        settings.channel,
        work.wish.day,
        _now(),
        records.actor(settings),
    )
    begun = records.begin(work.store, run)
    if (
        work.wish.dataset_version is not None
        and begun.dataset is not None
        and begun.dataset.version != work.wish.dataset_version
    ):
        raise DataError(
            f"the run {work.run_id} is about version {begun.dataset.version} of {begun.dataset.name}, "
            f"not {work.wish.dataset_version}",
            hint="a run id belongs to one run: give this one another ORCHARD_RUN_ID",
        )
    if begun.dataset is not None:
        work.reporter.note(f"the run {work.run_id} is about version {begun.dataset.version} of {begun.dataset.name}")
    return begun


def _fixed(work: StepContext) -> PinnedDataset:
    from orchard.dataset import Dataset

    found = Dataset(work.store, work.settings.dataset).require(work.wish.dataset_version)
    return PinnedDataset(found.name, found.version, found.digest)


def _require_own_folder(root: Path, run_id: str) -> None:
    """Never work over something else: the folder is empty of datasets and artifacts, or this run has used it."""
    mark = root / MARK
    theirs = [name for name in ("data", "artifacts") if (root / name).exists()]
    if theirs and not (mark.exists() and mark.read_text(encoding="utf-8") == run_id):
        raise DataError(
            f"{root.absolute()} holds {' and '.join(theirs)}: a step wants a folder of its own",
            hint="make an empty folder and run the step in it",
        )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(run_id, encoding="utf-8")


def _send_pages(work: StepContext) -> tuple[str, ...]:
    sent = []
    for page in work.step.pages:
        if page.file and (path := work.root / page.file).exists():
            sent.append(page.key.format(run=work.run_id))
            work.store.put_file(sent[-1], path, KINDS[path.suffix])
    return tuple(sent)


def _keep_failure(work: StepContext, error: OrchardError) -> None:
    """Leave in the store why the step failed, and its page; that the store fails too changes nothing."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "run_id": work.run_id,
        "verb": work.step.verb,
        "when": _now(),
        "exit_code": error.exit_code,
        "message": error.message[:4000],
    }
    try:
        work.store.put(layout.run_failure(work.run_id, work.step.verb), canonical_json(document))
        _send_pages(work)
    except OrchardError as second:
        work.reporter.note(f"the reason did not reach the store: {second.message}")
