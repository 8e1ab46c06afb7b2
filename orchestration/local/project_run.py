"""The loop of a project on this machine, as one run: its verbs in the project's folder, its records in the store.

A run id that no person chose names the run's inputs. So the same command resumes what was interrupted, and does nothing
where there is nothing new. Each step may be repeated: DVC skips stages that are done, a training resumes after its last
whole epoch, and a publish finds its own version again.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from orchard import settings as orchard_settings
from orchard.dataset import Dataset
from orchard.disk import temporary_folder, writing_to
from orchard.documents import FORMAT
from orchard.errors import ConflictError, GateRefused
from orchard.files import locked
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.runs.records import PinnedDataset, Run, StepRecord
from orchard.runs.run_pages import put_pages
from orchard.runs.steps import steps_of
from orchard.runs.summary import RunSummary, read_entry
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from orchard.store.project_store import store_of_project
from orchestration.local.commands import CommandFailed, CommandRunner, exit_on_signals, verb_environment
from orchestration.local.run_inputs import derived_id, read_stages, require_project
from orchestration.local.run_messages import StepEnd, nothing_new, result_text, stage_summary

__all__ = ["ProjectRun", "run"]

LOCK = Path(".orchard/run.lock")
LOGS = Path(".orchard/logs")
COMMAND = "orchard run"


def run(reporter: Reporter, *, photos: Path | None, force: str) -> None:
    """Run the loop; see `orchestration.cli.run.run`.

    Args:
        reporter: prints the result.
        photos: photos to ingest; None: those of ORCHARD_PHOTOS.
        force: the reason to accept a refused candidate; empty: it is not accepted.

    Raises:
        ParamsError: the working folder is not a project.
        ConflictError: another run works in this folder, or the run id belongs to another run.
        GateRefused: the gate refused the candidate.
        CommandFailed: a step failed, with the exit code of its command.
    """
    require_project(Path())
    with writing_to(LOCK.parent):
        LOCK.parent.mkdir(exist_ok=True)
    with exit_on_signals(), locked(LOCK) as ours:
        if not ours:
            raise ConflictError("another `orchard run` works in this folder", hint="wait for its end")
        with store_of_project(reporter.note):
            _run(reporter, photos, force)


def _run(reporter: Reporter, photos: Path | None, force: str) -> None:
    import os

    loaded = orchard_settings.load()
    loaded.require("store_url", "signing_key_file", "trusted_keys_file")
    runner = CommandRunner(Path(), verb_environment(os.environ), LOGS.absolute(), COMMAND)
    project = ProjectRun(runner, loaded, force)
    pinned = project.pin_dataset(photos or loaded.photos)
    before = project.begin(pinned)
    if before is not None and before.state in ("done", "superseded at promote") and not force:
        text = nothing_new(before)
        reporter.result({"run": before.run.run_id, "nothing_new": text, "version": before.version}, text)
        return
    click.echo(f"{'run':<10} {project.run_id}", err=True)
    for verb in steps_of("retrain"):
        project.step(verb)
    reporter.result(*result_text(project.run_id, loaded, project.ends, runner))


class ProjectRun:
    """A run in the working folder.

    Args:
        runner: runs the verbs.
        settings: the store and the names.
        force: as of `run`.
    """

    def __init__(self, runner: CommandRunner, settings: Settings, force: str) -> None:
        self.runner = runner
        self.settings = settings
        self.store: ObjectStore = open_store(settings)
        self.force = force.strip()
        self.run_id = settings.run_id or ""
        self.ends: dict[str, StepEnd] = {}
        self._stages = read_stages(runner.folder)

    def pin_dataset(self, photos: Path | None) -> PinnedDataset:
        """Ingest the photos, or download the dataset if there are none; return the version that the run uses."""
        if photos is None:
            document, lines, seconds = self._verb("pull")
            self.runner.report("pull", lines[-1], seconds)
        else:
            with self.runner.using({"ORCHARD_PHOTOS": str(photos.absolute())}):
                document, lines, seconds = self._verb("ingest")
            self.runner.report("ingest", lines[-1], seconds)
        version = Dataset(self.store, self.settings.dataset).require(int(document["version"]))
        return PinnedDataset(version.name, version.version, version.digest)

    def begin(self, pinned: PinnedDataset) -> RunSummary | None:
        """Record the run's inputs; return what is recorded of it already, or None if it begins now.

        Raises:
            ConflictError: ORCHARD_RUN_ID belongs to another run.
        """
        settings = self.settings
        self.run_id = self.run_id or derived_id(self.runner.folder, pinned.digest)
        existing = records.read(self.store, self.run_id)
        actor = records.actor(settings)
        new = Run(FORMAT, self.run_id, "retrain", pinned, settings.model, settings.channel, None, records.now(), actor)
        begun = records.begin(self.store, new)
        if (begun.dataset, begun.model, begun.channel) != (new.dataset, new.model, new.channel):
            raise ConflictError(
                f"the run {self.run_id} uses other inputs: {begun.dataset}, model {begun.model}, channel {begun.channel}",
                hint="a run id belongs to one run: choose another ORCHARD_RUN_ID, or unset it",
            )
        return None if existing is None else read_entry(self.store, begun)

    def step(self, verb: str) -> None:
        """Run a step, show how it ended, and record that.

        Raises:
            GateRefused: the gate refused the candidate.
            CommandFailed: its command failed.
        """
        started, spent = records.now(), self.runner.seconds.get(verb, 0.0)
        try:
            with self.runner.timed(verb) as results:
                end = self._stage(verb) if verb in self._stages else getattr(self, f"_{verb}")()
                results.append(end.text)
        except CommandFailed as error:
            lines = error.output.splitlines()
            with suppress(Exception):  # the step's own error is what counts
                records.fail_step(
                    self.store,
                    self.run_id,
                    verb,
                    error.exit_code,
                    records.error_text(lines) if lines else error.message,
                )
            raise
        seconds = round(self.runner.seconds[verb] - spent, 3)
        pages = put_pages(self.store, self.run_id, steps_of("retrain")[verb], self.runner.folder)
        record = StepRecord(end.outcome, end.reason, started, records.now(), seconds, end.document, None, pages)
        records.end_step(self.store, self.run_id, verb, record)
        self.ends[verb] = end
        if end.outcome == "refused":
            raise _refusal(end)

    def _stage(self, verb: str) -> StepEnd:
        output, _ = self.runner.command(verb, [sys.executable, "-m", "dvc", "repro", verb])
        unchanged = f"Stage '{verb}' didn't change" in output.decode(errors="replace")
        return StepEnd("done", "", {}, stage_summary(verb, self.runner.folder, unchanged=unchanged))

    def _gate(self) -> StepEnd:
        options = ("--override-reason", self.force) if self.force else ()
        output, _ = self.runner.run("gate", *options, "--json", also=(GateRefused.exit_code,))
        document = json.loads(output)
        text = ": ".join(filter(None, (document["verdict"], document["reason"])))
        refused = document["verdict"] == "refused"
        return StepEnd("refused" if refused else "done", document["reason"] if refused else "", document, text)

    def _publish(self) -> StepEnd:
        with self.runner.using({"ORCHARD_RUN_ID": self.run_id}):
            document, lines, _ = self._verb("publish")
        return StepEnd("done", "", document, lines[0])

    def _promote(self) -> StepEnd:
        version = int(self.ends["publish"].document["version"])
        with self.runner.using({"ORCHARD_RUN_ID": self.run_id}):
            output, _ = self.runner.run("promote", str(version), "--forward", "--json", also=(ConflictError.exit_code,))
        document = json.loads(output)
        if "error" in document:
            reason = str(document["error"]["message"])
            return StepEnd("superseded", reason, {}, reason)
        return StepEnd("done", "", document, f"{document['channel']} points to version {document['version']}")

    def _verb(self, name: str, *options: str) -> tuple[dict[str, Any], list[str], float]:
        """Run a verb; return its document, the lines of its result, and its time in seconds."""
        with temporary_folder("orchard-run-") as folder:
            path = folder / "result.json"
            output, seconds = self.runner.run(name, *options, "--json-file", str(path))
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document, output.splitlines() or [""], seconds


def _refusal(end: StepEnd) -> GateRefused:
    page = end.document["page"]
    failed = [check["sentence"] for check in end.document["checks"] if check["passed"] is False]
    return GateRefused(
        "\n  ".join([f"the gate refused the model: {end.reason}", *(failed[:5] if len(failed) > 1 else ())]),
        hint=f"look at {page} and artifacts/evaluation/page.html; change what is wrong (photos, or `model`, `train` and `gate` in "
        f"params.yaml) and `{COMMAND}` again, or accept the model for a reason that is kept: `{COMMAND} --force REASON`",
    )
