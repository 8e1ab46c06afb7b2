"""A verb of a training Job that holds a key: it runs in the Job's own folder, and is recorded as a step of the run.

The steps before it that hold no key have left a marker each in ``.done/``; the first step with a key records them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchard.documents import FORMAT
from orchard.errors import GateRefused, OrchardError
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.runs.records import Outcome, PinnedDataset, Run, StepRecord
from orchard.runs.steps import steps_before, steps_of
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.pipeline.runner import FinishedVerb, VerbRunner

__all__ = ["JOB_VERBS", "run_in_job"]

JOB_VERBS = ("pull", *(verb for verb, spec in steps_of("retrain").items() if spec.trusts))
"""The verbs of a training Job that hold a key."""

_DONE = Path(".done")


def run_in_job(verb: str, settings: Settings, reporter: Reporter) -> int:
    """Run a verb in this folder and record how it ended, as a step of the run ORCHARD_RUN_ID; returns its exit code.

    That it cannot be recorded is reported, and changes nothing else.

    Args:
        verb: one of `JOB_VERBS`.
        settings: the store and the run id.
        reporter: reports what could not be recorded.
    """
    settings.require("run_id", "store_url")
    store, started = open_store(settings), records.now()
    pinned = _recorded(reporter, lambda: records.read(store, str(settings.run_id))) if verb == "pull" else None
    # a later pod of the Job uses the version that the first one recorded
    version = ("--version", str(pinned.dataset.version)) if pinned is not None and pinned.dataset is not None else ()
    with VerbRunner() as runner:
        finished = runner.run(verb, *version)
        runner.defers_termination = True
        if verb == "pull":
            _recorded(reporter, lambda: _begin(store, settings, finished, started))
        else:
            _recorded(reporter, lambda: _end(store, str(settings.run_id), verb, finished, started))
    return finished.code


def _recorded(reporter: Reporter, write: Callable[[], Any]) -> Any:
    """Return what a function returns; None if the store or a record refuses."""
    try:
        return write()
    except OrchardError as error:
        reporter.note(f"warning: `orchard runs` will not show this step: {error.message}")
        return None


def _begin(store: ObjectStore, settings: Settings, pulled: FinishedVerb, started: str) -> None:
    if pulled.code:
        return
    document = pulled.document
    dataset = PinnedDataset(str(document["dataset"]), int(document["version"]), str(document["digest"]))
    actor = records.actor(settings)
    run = Run(FORMAT, str(settings.run_id), "retrain", dataset, settings.model, settings.channel, None, started, actor)
    records.begin(store, run)


def _end(store: ObjectStore, run_id: str, verb: str, finished: FinishedVerb, started: str) -> None:
    for earlier in steps_before(verb):
        if earlier not in JOB_VERBS and (record := _marked(earlier)) is not None:
            records.end_step(store, run_id, earlier, record)
    refused = finished.code == GateRefused.exit_code and verb == "gate"
    if finished.code and not refused:
        records.fail_step(store, run_id, verb, finished.code, finished.error_text)
        return
    outcome: Outcome = "refused" if refused else "done"
    reason = str(finished.document.get("reason") or finished.error_text) if refused else ""
    seconds = round(finished.seconds, 3)
    record = StepRecord(outcome, reason, started, records.now(), seconds, finished.document, None, ())
    records.end_step(store, run_id, verb, record)


def _marked(verb: str) -> StepRecord | None:
    """Return the record of a step that held no key, by its marker; None: it has none."""
    marker = _DONE / verb
    if not marker.exists():
        return None
    ended = marker.stat().st_mtime
    before = [path.stat().st_mtime for path in _DONE.iterdir() if path.stat().st_mtime < ended]
    began = max(before, default=ended)
    return StepRecord("done", "", _text(began), _text(ended), round(ended - began, 3), {}, None, ())


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
