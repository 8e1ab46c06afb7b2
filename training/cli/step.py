"""`orchard step`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.errors import GateRefused, OrchardError
from orchard.reporter import Reporter
from orchard.runs.steps import STEPS, StepSpec
from training.cli.day_type import DayType

if TYPE_CHECKING:
    from training.pipeline.run_step import StepResult

__all__ = ["step"]

EXTRA = "training"
_RUN = "ORCHARD_RUN_ID=nightly-2026-11-24 "


class _VersionType(click.ParamType[Any]):
    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Accept a version's number; `latest` or nothing is None."""
        if value in ("", "latest", None):
            return None
        try:
            return click.IntRange(1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither a version's number nor latest", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def step() -> None:
    """Run a verb as a step of the run ORCHARD_RUN_ID, in an empty folder: what a task of a scheduler does.

    Brings what the verb needs here (the dataset version that the run has fixed, what the steps before it left), runs it
    and keeps in the store how it ended. A step that has ended is not run again: it says so and ends with 0, so any step
    may be repeated, anywhere, after any crash. A training that was killed goes on after its last whole epoch.
    """


_OPTIONS: dict[str, Callable[..., Any]] = {
    "dataset_version": click.option(
        "--dataset-version",
        type=_VersionType(),
        default="latest",
        show_default=True,
        metavar="N|latest",
        help="What the run learns from; fixed by its first step.",
    ),
    "profile": click.option(
        "--profile",
        default="full",
        show_default=True,
        metavar="NAME",
        help="Lay params.NAME.yaml over params.yaml; full is params.yaml itself.",
    ),
    "force": click.option(
        "--force", default="", metavar="REASON", help="Accept a refused candidate; kept permanently."
    ),
    "why": click.option("--why", default="", help="The reason; the history keeps it.  [default: run ORCHARD_RUN_ID]"),
    "day": click.option(
        "--day", type=DayType(), required=True, metavar="YYYY-MM-DD", help="The day; of a time its date counts."
    ),
    "split": click.option("--split", type=click.Choice(["train", "test"]), help="As for `orchard ingest --day`."),
    "max_refused": click.option("--max-refused", type=click.FloatRange(0, 1), help="As for `orchard ingest --day`."),
    "dry_run": click.option("--dry-run", is_flag=True, help="Only report what would be deleted."),
    "skip_code": click.option(
        "--skip-code",
        type=click.IntRange(1, 125),
        metavar="CODE",
        help="End with this exit code where the run ends without an error: refused, nothing new, no version, superseded.",
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

    def function(reporter: Reporter, *, project: Path | None, skip_code: int | None = None, **wish: Any) -> None:
        _perform(reporter, spec.verb, project, wish, skip_code)

    function.__name__, function.__doc__ = spec.verb, spec.help
    for option in reversed((*spec.options, *["skip_code"] * spec.skips, "project")):
        function = _OPTIONS[option](function)
    examples = "\n".join(f"{_RUN}orchard step {spec.verb} {options}".rstrip() for options in spec.examples)
    return verb(extra=EXTRA, examples=examples)(function)


for _spec in STEPS.values():
    step.add_command(_command(_spec))


def _perform(
    reporter: Reporter, name: str, project: Path | None, wish: dict[str, Any], skip: int | None = None
) -> None:
    """Do the step, print how it ended, and end with the exit code that says it."""
    from orchard import settings
    from training.pipeline import step_summary
    from training.pipeline.actions import PERFORMERS
    from training.pipeline.project_config import PLACES, ProjectConfig
    from training.pipeline.run_step import StepFailed, StepOptions, perform

    places = (project.absolute(), *PLACES) if project else PLACES
    found = settings.load()
    last = partial(step_summary.end_with, found.step_summary, name)
    try:
        said = perform(name, StepOptions(**wish), found, PERFORMERS[name], reporter, project=ProjectConfig(places))
    except OrchardError as error:
        refused = isinstance(error, GateRefused) and skip is not None
        last(skip or 0 if refused else error.exit_code, error.message if refused else step_summary.failure(error))
        if refused:
            _exit_with(error.message, skip or 0)
        if isinstance(error, StepFailed) and not reporter.as_json:
            click.get_current_context().exit(error.exit_code)  # the log ends with what the verb said of it
        raise
    ended = said.ended
    code = 0 if ended.outcome == "done" else skip if skip is not None else _CODES[ended.outcome]
    when = f"before, at {ended.ended}: it is not run again" if said.before else f"in {ended.seconds:.1f} s"
    last(
        code,
        ended.reason or said.line or f"{name}: {when}",
        step_summary.links(name, str(found.run_id), ended, wish.get("day")),
    )
    _print_ended(reporter, name, said, f"{name}: {ended.outcome} {when}")
    if ended.outcome != "done":
        _exit_with(ended.reason, code)


_CODES = {"refused": GateRefused.exit_code, "skipped": 0, "superseded": 0}
"""Exit codes of steps that ended well and did not do what they are for, where no other was asked for."""


def _print_ended(reporter: Reporter, name: str, said: StepResult, text: str) -> None:
    from orchard.documents import encode

    reporter.result({"step": name, "before": said.before, **encode(said.ended)}, text)


def _exit_with(reason: str, code: int) -> None:
    """End without an error: the reason is the last line, and the exit code is the one that was asked for."""
    click.echo(reason, err=True)
    click.get_current_context().exit(code)
