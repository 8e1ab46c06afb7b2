"""The options that several verbs of training have."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

__all__ = ["day_option", "params_option", "profile_option", "schema_option", "skip_code_option"]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _DayType(click.ParamType[str]):
    """A day, given as a date or as a time whose date counts."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as ``YYYY-MM-DD``."""
        try:
            return datetime.fromisoformat(str(value)).date().isoformat()
        except ValueError:
            self.fail(f"{value!r} is not a valid day: expected YYYY-MM-DD", param, ctx)


def day_option(text: str = "The day; of a time its date counts.", *, required: bool = True) -> Decorator:
    """The option ``--day``."""
    return click.option("--day", type=_DayType(), required=required, metavar="YYYY-MM-DD", help=text)


def params_option(text: str) -> Decorator:
    """The option ``--params``."""
    return _file_option("--params", Path("params.yaml"), text)


def profile_option() -> Decorator:
    """The option ``--profile`` of verbs that read a params.yaml."""
    text = "Merge params.NAME.yaml, which is beside the parameters, into them: transfer, probe, short, photos."
    return click.option("--profile", metavar="NAME", help=text)


def schema_option(text: str) -> Decorator:
    """The option ``--schema``."""
    return _file_option("--schema", Path("data/schema.yaml"), text)


def _file_option(name: str, default: Path, text: str) -> Decorator:
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


def skip_code_option(text: str) -> Decorator:
    """The option ``--skip-code``, for schedulers: a result that is neither done nor an error has its own exit code."""
    return click.option("--skip-code", type=click.IntRange(1, 125), metavar="CODE", help=text)
