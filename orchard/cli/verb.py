"""How a verb is written: a function from options to nothing, with `--json`, examples and exit codes like every other.

A verb's module imports nothing heavy at its top: `orchard --help` imports all of them. What needs TensorFlow, DVC or
pyarrow is imported inside the function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchard.reporter import Reporter

__all__ = ["verb"]


def verb(*, examples: str, extra: str | None = None) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command out of ``function(reporter: Reporter, **options)``; its docstring is the help.

    Args:
        examples: lines to copy, shown at the end of the help.
        extra: the extra of the distribution that the function's imports need, named when one is missing.
    """

    def make(function: Callable[..., None]) -> click.Command:
        def call(*, as_json: bool, json_file: Path | None, **options: Any) -> None:
            function(Reporter(as_json=as_json, json_file=json_file), **options)

        call.__doc__ = function.__doc__
        # click collects the options that stand between @verb and the function on the function itself
        call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        name = function.__name__.removesuffix("_").replace("_", "-")
        epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines())
        # for `orchard step`, which keeps the document and shows the text
        kept = click.option("--json-file", type=click.Path(dir_okay=False, path_type=Path), hidden=True)
        command = click.command(name, epilog=epilog)(
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(kept(call))
        )
        command.extra = extra  # type: ignore[attr-defined]
        return command

    return make
