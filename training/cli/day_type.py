"""How days are written on the command line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

__all__ = ["DayType"]


class DayType(click.ParamType[str]):
    """A day, given as a date or as a time whose date counts."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as ``YYYY-MM-DD``."""
        try:
            return datetime.fromisoformat(str(value)).date().isoformat()
        except ValueError:
            self.fail(f"{value!r} is not a valid day: expected YYYY-MM-DD", param, ctx)
