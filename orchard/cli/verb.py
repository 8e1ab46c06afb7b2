"""The decorators of verbs: they make a function a command with `--json`, examples and exit codes, or a group of commands.

`orchard --help` imports the modules of all verbs. So they import TensorFlow, DVC and pyarrow inside the function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import click

from orchard import env_files
from orchard.reporter import Reporter

__all__ = ["GROUPS", "VerbGroup", "group_of", "verb", "verb_group"]

VerbGroup = Literal["Data", "Model", "Registry", "Serve", "Operate"]
GROUPS: tuple[VerbGroup, ...] = get_args(VerbGroup)
"""What `orchard --help` lists verbs under, in this order."""


def _apply_env_files() -> None:
    """Put the settings of `.env` into the environment, so that what the verb starts has them too."""
    if env_files.find().files:  # else pydantic need not be imported
        from orchard.settings import apply_files

        apply_files()


def verb(
    *, examples: str, group: VerbGroup | None = None, extra: str | None = None, env_file: bool = True
) -> Callable[[Callable[..., None]], click.Command]:
    """Make ``function(reporter: Reporter, **options)`` a command; its docstring is the help.

    Args:
        examples: example command lines, printed at the end of the help.
        group: what `orchard --help` lists it under; None: it is no verb of `orchard` itself.
        extra: the distribution's extra that the function needs, for the error when an import fails.
        env_file: read the settings of `.env` first; False for a verb that needs none of them, or reads them itself.
    """

    def make(function: Callable[..., None]) -> click.Command:
        def call(*, as_json: bool, json_file: Path | None, **options: Any) -> None:
            if env_file:
                _apply_env_files()
            function(Reporter(as_json=as_json, json_file=json_file), **options)

        call.__doc__ = function.__doc__
        # click stores the options of decorators between @verb and the function on the function
        call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        name = function.__name__.removesuffix("_").replace("_", "-")
        epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines())
        # for `orchard step`, which records the document and shows the text
        json_file = click.option("--json-file", type=click.Path(dir_okay=False, path_type=Path), hidden=True)
        command = click.command(name, epilog=epilog)(
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(json_file(call))
        )
        command.extra = extra  # type: ignore[attr-defined]
        command.help_group = group  # type: ignore[attr-defined]
        return command

    return make


def group_of(command: click.Command) -> VerbGroup | None:
    """Return what `orchard --help` lists a verb under, or None if the verb does not say."""
    return getattr(command, "help_group", None)


def verb_group(group: VerbGroup) -> Callable[[Callable[[], None]], click.Group]:
    """Make a function a verb with verbs of its own: ``orchard store run``; its docstring is the help.

    Args:
        group: what `orchard --help` lists it under.
    """

    def make(function: Callable[[], None]) -> click.Group:
        made = click.group(context_settings={"help_option_names": ["-h", "--help"]})(function)
        made.help_group = group  # type: ignore[attr-defined]
        return made

    return make
