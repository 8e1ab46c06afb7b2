"""One step of a run, from an empty folder to a record in the store. A step that has a record is not run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchard.disk import writing_to
from orchard.documents import FORMAT
from orchard.errors import DataError, GateRefused, OrchardError
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.runs.records import Outcome, PinnedDataset, Run, StepRecord
from orchard.runs.run_pages import put_pages
from orchard.runs.steps import STEPS, StepSpec, steps_before
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.pipeline.artifacts import download, upload
from training.pipeline.project_config import FULL, ProjectConfig
from training.pipeline.runner import TERMINATED, FinishedVerb, VerbRunner

__all__ = [
    "ActionResult",
    "StepAction",
    "StepContext",
    "StepFailed",
    "StepOptions",
    "StepResult",
    "run_step",
]

RUN_MARKER = Path(".orchard") / "step" / "run"


class StepFailed(OrchardError):
    """The verb of a step failed, with its exit code. The log holds its error message already."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The options of a step.

    Attributes:
        dataset_version: the dataset's version; None: the current one when the run begins.
        profile: the profile of parameters to train with.
        force: the reason to accept a refused candidate; empty: do not accept it.
        why: the reason of a promotion.
        day: the day to work on, ``YYYY-MM-DD``.
        split: the split of the day's photos; None: as their folder says.
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
    """The result of a step.

    Attributes:
        record: how it ended.
        before: whether it had ended before this call.
        line: the last line of its verb's output, if the verb ran now.
    """

    record: StepRecord
    before: bool
    line: str = ""


@dataclass(frozen=True, slots=True)
class StepContext:
    """What the action of a step works with. `root` is its folder; `earlier` has the records of the steps before it."""

    step: StepSpec
    options: StepOptions
    settings: Settings
    store: ObjectStore
    run_id: str
    project: ProjectConfig
    runner: VerbRunner
    reporter: Reporter
    root: Path = Path()
    earlier: dict[str, StepRecord] = field(default_factory=dict)

    def pull(self, run: Run) -> None:
        """Download exactly the dataset version that the run has pinned."""
        if run.dataset is None:
            raise DataError(f"the run {self.run_id} has no dataset")
        self.verb("pull", "--version", str(run.dataset.version), "--dataset", run.dataset.name)

    def verb(self, *arguments: str, accept: Sequence[int] = (0,)) -> FinishedVerb:
        """Run a verb. Raises `StepFailed` unless it ends with one of the exit codes in `accept`."""
        finished = self.runner.run(*arguments)
        if finished.code in accept:
            return finished
        if self.runner.terminated:
            raise StepFailed(f"`orchard {arguments[0]}` was terminated by SIGTERM", exit_code=TERMINATED)
        raise StepFailed(finished.error_text, exit_code=finished.code)


ActionResult = tuple[FinishedVerb, Outcome, str]
StepAction = Callable[[StepContext, Run], ActionResult]
"""Runs the verb of a step whose inputs are in its folder; returns how the verb ended, the outcome and the reason."""


def run_step(
    verb: str,
    options: StepOptions,
    settings: Settings,
    action: StepAction,
    reporter: Reporter,
    *,
    project: ProjectConfig | None = None,
) -> StepResult:
    """Run a step of the run ORCHARD_RUN_ID, unless it has ended before.

    Args:
        verb: the step.
        options: its options.
        settings: the store and the run id.
        action: what the step does.
        reporter: reports progress.
        project: the project's files; None: those in `PLACES`.

    Raises:
        StepFailed: its verb failed, with the verb's exit code.
        DataError: a step before it has not ended, there is no such dataset, or the folder holds other files.
        GateRefused: the gate refused the candidate in an earlier step.
        ConflictError: the run is of another kind.
        IntegrityError: an earlier step's artifact is damaged.
        StoreError: the store did not answer.
    """
    step = STEPS[verb]
    settings.require("run_id", "store_url", *step.settings)
    store, run_id = open_store(settings), str(settings.run_id)
    record = records.ended_step(store, run_id, verb)
    if record is not None and not _may_run_again(verb, options, record):
        return StepResult(record, before=True)
    with VerbRunner() as runner:
        work = StepContext(step, options, settings, store, run_id, project or ProjectConfig(), runner, reporter)
        work.earlier.update(_read_earlier(store, run_id, step))
        run = _begin_run(work)
        _require_own_folder(work.root, run_id)
        started = records.now()
        try:
            return _run_action(work, run, action, started)
        except OrchardError as error:
            _upload_failure(work, error)
            raise


def _may_run_again(verb: str, options: StepOptions, record: StepRecord) -> bool:
    """Whether a step that has ended runs again."""
    if record.outcome == "refused":
        return bool(options.force.strip())
    return record.outcome == "skipped" and STEPS[verb].retry_if_skipped


def _run_action(work: StepContext, run: Run, action: StepAction, started: str) -> StepResult:
    if work.step.dataset:
        work.pull(run)
    for name in work.step.inputs:
        artifact = work.earlier[name].files
        if artifact is not None:
            download(work.store, artifact, work.root, STEPS[name].outputs)
    finished, outcome, reason = action(work, run)
    work.runner.defers_termination = True
    files = upload(work.store, work.run_id, work.step.verb, work.root, work.step.outputs) if work.step.outputs else None
    pages, seconds = put_pages(work.store, work.run_id, work.step, work.root), round(finished.seconds, 3)
    record = StepRecord(outcome, reason, started, records.now(), seconds, finished.document, files, pages)
    record = records.end_step(work.store, work.run_id, work.step.verb, record)
    return StepResult(record, before=False, line=finished.lines[-1] if finished.lines else "")


def _read_earlier(store: ObjectStore, run_id: str, step: StepSpec) -> Mapping[str, StepRecord]:
    """Read the records of the steps before this one; raise unless all of them ended without an error."""
    earlier: dict[str, StepRecord] = {}
    for name in dict.fromkeys((*step.inputs, *steps_before(step.verb)[-1:])):
        record = records.ended_step(store, run_id, name)
        if record is None:
            raise DataError(
                f"the step `{name}` of the run {run_id} has not ended, and `{step.verb}` comes after it",
                hint=f"run `orchard step {name}` with the same ORCHARD_RUN_ID",
            )
        if record.outcome == "refused":
            raise GateRefused(f"the run {run_id} ended before `{step.verb}`: {record.reason}")
        earlier[name] = record
    return earlier


def _begin_run(work: StepContext) -> Run:
    """Return the run's record. The first step of the run writes it."""
    existing = records.read(work.store, work.run_id) if steps_before(work.step.verb) else None
    if existing is not None:
        return existing
    settings, kind = work.settings, work.step.kind
    run = Run(
        FORMAT,
        work.run_id,
        kind,
        _pin_dataset(work) if kind == "retrain" else None,
        settings.model,
        settings.channel,
        work.options.day,
        records.now(),
        records.actor(settings),
    )
    run = records.begin(work.store, run)
    if (
        work.options.dataset_version is not None
        and run.dataset is not None
        and run.dataset.version != work.options.dataset_version
    ):
        raise DataError(
            f"the run {work.run_id} uses version {run.dataset.version} of {run.dataset.name}, "
            f"not {work.options.dataset_version}",
            hint="a run id belongs to one run: choose another ORCHARD_RUN_ID",
        )
    if run.dataset is not None:
        work.reporter.note(f"the run {work.run_id} uses version {run.dataset.version} of {run.dataset.name}")
    return run


def _pin_dataset(work: StepContext) -> PinnedDataset:
    from orchard.dataset import Dataset

    version = Dataset(work.store, work.settings.dataset).require(work.options.dataset_version)
    return PinnedDataset(version.name, version.version, version.digest)


def _require_own_folder(root: Path, run_id: str) -> None:
    """Raise if the folder has datasets or artifacts, unless this run has used it before: nothing else may be overwritten."""
    marker = root / RUN_MARKER
    taken = [name for name in ("data", "artifacts") if (root / name).exists()]
    if taken and not (marker.exists() and marker.read_text(encoding="utf-8") == run_id):
        raise DataError(
            f"{root.absolute()} holds {' and '.join(taken)}: a step needs a folder of its own",
            hint="make an empty folder and run the step in it",
        )
    with writing_to(root.absolute()):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(run_id, encoding="utf-8")


def _upload_failure(work: StepContext, error: OrchardError) -> None:
    """Upload the reason of a failure and the step's pages. That the store fails too changes nothing."""
    try:
        records.fail_step(work.store, work.run_id, work.step.verb, error.exit_code, error.message)
        put_pages(work.store, work.run_id, work.step, work.root)
    except OrchardError as second:
        work.reporter.note(f"the reason could not be uploaded: {second.message}")
