"""`orchard step`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.output import Output
from orchard.cli.verb import verb
from orchard.errors import GateRefused, OrchardError
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


def _command(examples: str, *options: Callable[..., Any]) -> Callable[[Callable[..., None]], click.Command]:
    """A verb of `step`, with the options that all of them have."""

    def make(function: Callable[..., None]) -> click.Command:
        project = click.option(
            "--project",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="The folder with params.yaml and data/schema.yaml.  [default: the image's, or the checkout]",
        )
        for option in reversed((*options, project)):
            function = option(function)
        command = verb(extra=EXTRA, examples=examples)(function)
        step.add_command(command)
        return command

    return make


_SKIP = click.option(
    "--skip-code",
    type=click.IntRange(1, 125),
    metavar="CODE",
    help="End with this exit code where the run ends without an error: refused, nothing new, no version, superseded.",
)
_DAY = click.option(
    "--day", type=DayType(), required=True, metavar="YYYY-MM-DD", help="The day; of a time its date counts."
)


def _perform(out: Output, name: str, project: Path | None, wish: dict[str, Any], skip: int | None = None) -> None:
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
        said = perform(name, StepOptions(**wish), found, PERFORMERS[name], out.note, project=ProjectConfig(places))
    except OrchardError as error:
        refused = isinstance(error, GateRefused) and skip is not None
        last(skip or 0 if refused else error.exit_code, error.message if refused else step_summary.failure(error))
        if refused:
            _leave(error.message, skip or 0)
        if isinstance(error, StepFailed) and not out.as_json:
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
    _tell(out, name, said, f"{name}: {ended.outcome} {when}")
    if ended.outcome != "done":
        _leave(ended.reason, code)


_CODES = {"refused": GateRefused.exit_code, "skipped": 0, "superseded": 0}
"""Exit codes of steps that ended well and did not do what they are for, where no other was asked for."""


def _tell(out: Output, name: str, said: StepResult, text: str) -> None:
    from orchard.documents import encode

    out.result({"step": name, "before": said.before, **encode(said.ended)}, text)


def _leave(reason: str, code: int) -> None:
    """End without an error: the reason is the last line, and the exit code is the one that was asked for."""
    click.echo(reason, err=True)
    click.get_current_context().exit(code)


@_command(
    f"{_RUN}orchard step validate\n{_RUN}orchard step validate --dataset-version 12",
    click.option(
        "--dataset-version",
        "version",
        type=_VersionType(),
        default="latest",
        show_default=True,
        metavar="N|latest",
        help="What the run learns from; fixed by its first step.",
    ),
)
def validate(out: Output, *, version: int | None, project: Path | None) -> None:
    """Begin a run: fix the dataset's version, bring it here and hold it against its schema."""
    _perform(out, "validate", project, {"version": version})


@_command(
    f"{_RUN}orchard step train --profile short",
    click.option(
        "--profile",
        default="full",
        show_default=True,
        metavar="NAME",
        help="Lay params.NAME.yaml over params.yaml; full is params.yaml itself.",
    ),
)
def train(out: Output, *, profile: str, project: Path | None) -> None:
    """Train on the run's dataset; goes on where an earlier attempt was ended, wherever that was."""
    _perform(out, "train", project, {"profile": profile or "full"})


@_command(f"{_RUN}orchard step evaluate")
def evaluate(out: Output, *, project: Path | None) -> None:
    """Judge the run's candidate on every test photo."""
    _perform(out, "evaluate", project, {})


@_command(
    f"{_RUN}orchard step gate --skip-code 99\n{_RUN}orchard step gate --force 'the shop photos of Plum are mislabelled'",
    click.option("--force", default="", metavar="REASON", help="Accept a refused candidate; kept for ever."),
    _SKIP,
)
def gate(out: Output, *, force: str, skip_code: int | None, project: Path | None) -> None:
    """Decide whether the run's candidate may be published. Refused: exit code 5, or the one of --skip-code."""
    _perform(out, "gate", project, {"force": force}, skip_code)


@_command(f"{_RUN}orchard step publish", _SKIP)
def publish(out: Output, *, skip_code: int | None, project: Path | None) -> None:
    """Publish the run's candidate; gates again first where the channel has moved since."""
    _perform(out, "publish", project, {}, skip_code)


@_command(
    f"{_RUN}orchard step promote --why 'nightly run'",
    click.option("--why", default="", help="The reason; the history keeps it.  [default: run ORCHARD_RUN_ID]"),
    _SKIP,
)
def promote(out: Output, *, why: str, skip_code: int | None, project: Path | None) -> None:
    """Make the channel mean the run's version, unless a newer one is live by now: that stays."""
    _perform(out, "promote", project, {"why": why}, skip_code)


@_command(
    f"{_RUN}orchard step ingest --day 2026-11-24 --skip-code 99",
    _DAY,
    click.option("--split", type=click.Choice(["train", "test"]), help="As for `orchard ingest --day`."),
    click.option("--max-refused", type=click.FloatRange(0, 1), help="As for `orchard ingest --day`."),
    _SKIP,
)
def ingest(
    out: Output,
    *,
    day: str,
    split: str | None,
    max_refused: float | None,
    skip_code: int | None,
    project: Path | None,
) -> None:
    """Bring a day's new photos into the dataset. Nothing new: exit code 0, or the one of --skip-code."""
    split_option = ("--split", split) if split else ()
    refused_option = ("--max-refused", str(max_refused)) if max_refused is not None else ()
    _perform(out, "ingest", project, {"day": day, "more": (*split_option, *refused_option)}, skip_code)


@_command(f"{_RUN}orchard step batch --day 2026-11-24 --skip-code 99", _DAY, _SKIP)
def batch(out: Output, *, day: str, skip_code: int | None, project: Path | None) -> None:
    """Predict a day's photos. No version on the channel yet: exit code 0, or the one of --skip-code; it may be run again."""
    _perform(out, "batch", project, {"day": day}, skip_code)


@_command(
    f"{_RUN}orchard step housekeeping --dry-run",
    click.option("--dry-run", is_flag=True, help="Only say what would be deleted."),
)
def housekeeping(out: Output, *, dry_run: bool, project: Path | None) -> None:
    """Delete what nobody needs any more."""
    _perform(out, "housekeeping", project, {"more": ("--dry-run",) if dry_run else ()})
