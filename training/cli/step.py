"""`orchard step`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from orchard.cli.verb import verb, verb_group
from orchard.errors import GateRefused, OrchardError
from orchard.reporter import Reporter
from orchard.runs.steps import STEPS, StepSpec
from training.cli.options import day_option, skip_code_option

__all__ = ["step"]

EXTRA = "training"
_RUN = "ORCHARD_RUN_ID=nightly-2026-11-24 "


class _VersionType(click.ParamType[Any]):
    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Accept a version's number; `latest` and an empty text become None."""
        if value in ("", "latest", None):
            return None
        try:
            return click.IntRange(1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither a version's number nor latest", param, ctx)


@verb_group("Operate")
def step() -> None:
    """Run a verb as a step of the run ORCHARD_RUN_ID, in an empty folder: the task of a scheduler.

    Downloads the verb's inputs (the dataset version that the run has pinned, the artifacts of earlier steps), runs the
    verb and records in the store how it ended. A step that has ended is not run again: it reports so and ends with 0.
    Any step may therefore be repeated, anywhere, after any crash. A training that was killed resumes after its last
    whole epoch.
    """


_OPTIONS: dict[str, Callable[..., Any]] = {
    "dataset_version": click.option(
        "--dataset-version",
        type=_VersionType(),
        default="latest",
        show_default=True,
        metavar="N|latest",
        help="The version to train on; the run's first step pins it.",
    ),
    "profile": click.option(
        "--profile",
        default="full",
        show_default=True,
        metavar="NAME",
        help="Merge params.NAME.yaml into params.yaml; full is params.yaml itself.",
    ),
    "force": click.option(
        "--force", default="", metavar="REASON", help="Accept a refused candidate; kept permanently."
    ),
    "why": click.option("--why", default="", help="The reason, for the history.  [default: run ORCHARD_RUN_ID]"),
    "day": day_option(),
    "split": click.option("--split", type=click.Choice(["train", "test"]), help="As for `orchard ingest --day`."),
    "max_refused": click.option("--max-refused", type=click.FloatRange(0, 1), help="As for `orchard ingest --day`."),
    "dry_run": click.option("--dry-run", is_flag=True, help="Only report what would be deleted."),
    "skip_code": skip_code_option(
        "End with this exit code where the run ends without an error: refused, nothing new, no version, superseded."
    ),
    "project": click.option(
        "--project",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The folder with params.yaml and data/schema.yaml.  [default: the image's, or the checkout]",
    ),
}
"""The options of steps, by the names that the table of steps uses."""


def _command(spec: StepSpec) -> click.Command:
    """Make the command of a step, with its options."""

    def function(reporter: Reporter, *, project: Path | None, skip_code: int | None = None, **options: Any) -> None:
        _run(reporter, spec.verb, project, options, skip_code)

    function.__name__, function.__doc__ = spec.verb, spec.help
    for option in reversed((*spec.options, *["skip_code"] * spec.skips, "project")):
        function = _OPTIONS[option](function)
    examples = "\n".join(f"{_RUN}orchard step {spec.verb} {example}".rstrip() for example in spec.examples)
    return verb(extra=EXTRA, examples=examples)(function)


for _spec in STEPS.values():
    step.add_command(_command(_spec))


@verb(extra=EXTRA, examples="ORCHARD_RUN_ID=deploy-0123456789ab orchard step in-job gate")
@click.argument("name", metavar="VERB")
def in_job(reporter: Reporter, *, name: str) -> None:
    """Run VERB (pull, gate, publish, promote) in the folder of a training Job, and record it for `orchard runs`."""
    from orchard import settings
    from training.pipeline.job_step import JOB_VERBS, run_in_job

    if name not in JOB_VERBS:
        raise click.UsageError(f"{name!r} is none of {', '.join(JOB_VERBS)}")
    click.get_current_context().exit(run_in_job(name, settings.load(), reporter))


step.add_command(in_job)


def _run(reporter: Reporter, name: str, project: Path | None, options: dict[str, Any], skip: int | None) -> None:
    """Run the step, print how it ended, and exit with the code of its outcome."""
    from orchard import settings
    from orchard.documents import encode
    from training.pipeline import step_summary
    from training.pipeline.actions import ACTIONS
    from training.pipeline.project_config import PLACES, ProjectConfig
    from training.pipeline.run_step import StepFailed, StepOptions, run_step

    places = (project.absolute(), *PLACES) if project else PLACES
    loaded = settings.load()
    summarise = partial(step_summary.write, loaded.step_summary, name)
    step_options, config = StepOptions(**options), ProjectConfig(places)
    try:
        result = run_step(name, step_options, loaded, ACTIONS[name], reporter, project=config)
    except OrchardError as error:
        refused = isinstance(error, GateRefused) and skip is not None
        text = error.message if refused else step_summary.failure_text(error)
        summarise(skip or 0 if refused else error.exit_code, text)
        if refused:
            _exit_with(error.message, skip or 0)
        if isinstance(error, StepFailed) and not reporter.as_json:
            click.get_current_context().exit(error.exit_code)  # the log ends with the verb's own error
        raise
    record = result.record
    code = 0 if record.outcome == "done" else skip if skip is not None else _CODES[record.outcome]
    when = f"before, at {record.ended}: it is not run again" if result.before else f"in {record.seconds:.1f} s"
    links = step_summary.links(name, str(loaded.run_id), record, options.get("day"))
    summarise(code, record.reason or result.line or f"{name}: {when}", links)
    document = {"step": name, "before": result.before, **encode(record)}
    reporter.result(document, f"{name}: {record.outcome} {when}")
    if record.outcome != "done":
        _exit_with(record.reason, code)


_CODES = {"refused": GateRefused.exit_code, "skipped": 0, "superseded": 0}
"""Exit codes of steps that ended without an error and without a result, unless --skip-code names another."""


def _exit_with(reason: str, code: int) -> None:
    """Exit with `code` and without an error; the reason is the last line."""
    click.echo(reason, err=True)
    click.get_current_context().exit(code)
