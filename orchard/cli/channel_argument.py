"""The option that names a channel. Whether there is such a channel depends on settings and store, which a verb reads."""

from __future__ import annotations

import click

from orchard.channel_names import channel_name_problem

__all__ = ["CHANNEL"]


class _ChannelName(click.ParamType[str]):
    name = "channel"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Accept a name that a channel may have."""
        if problem := channel_name_problem(str(value)):
            self.fail(problem, param, ctx)
        return str(value)


CHANNEL = _ChannelName()
