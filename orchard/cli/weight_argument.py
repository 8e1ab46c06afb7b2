"""What the verbs of weights share: the argument WEIGHT, the change, and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchard.cli.registry import open_to_change
from orchard.cli.version_argument import find_version
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.channels import ChannelChange

__all__ = ["WEIGHT", "change_weight", "print_weight"]


class _Weight(click.ParamType[float]):
    """A percentage, with or without its sign: 10, 2.5, `10%`."""

    name = "weight"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from orchard.registry.pointers import WEIGHT_STEP, is_weight

        try:
            number = float(str(value).removesuffix("%"))
        except ValueError:
            number = -1.0
        if not is_weight(number):
            self.fail(f"{value!r} is not a weight: expected 0 to 100 percent, in steps of {WEIGHT_STEP}", param, ctx)
        return number


WEIGHT = _Weight()


def change_weight(
    reporter: Reporter,
    name: str,
    weight: float,
    version: int | str | None,
    why: str | None,
    override_reason: str | None,
) -> ChannelChange:
    """Give a channel a weight, for the verb of its name.

    Args:
        reporter: shows the progress.
        name: the channel.
        weight: the share of the traffic in percent.
        version: the version; None: that of the channel.
        why: the reason; None: the run ORCHARD_RUN_ID.
        override_reason: why a version gets traffic that the gate has not accepted.

    Raises:
        OrchardError: as `orchard.registry.channel_weights.set_weight`.
    """
    from orchard.registry.channel_weights import set_weight

    channel, intent = open_to_change(name, why)
    registry = channel.registry
    number = None if version is None else find_version(registry, version)
    with reporter.status(f"verifying the {name} of {registry.model}"):
        return set_weight(registry, name, weight, intent, version=number, override_reason=override_reason)


def print_weight(reporter: Reporter, change: ChannelChange, share: str, following: str) -> None:
    """Report a weight.

    Args:
        reporter: for the result.
        change: the change.
        share: what the version gets, after the percentage.
        following: the next commands, once it has traffic.
    """
    from orchard import env_files
    from orchard.documents import encode

    now, store = change.pointer, env_files.in_use()
    already = "" if change.changed else "already "
    text = f"{now.channel} of {now.model}" + (f" in {store}" if store else "")
    text += (
        f": {already}{now.weight or 0:g} % of the traffic {share} version {now.version} (generation {now.generation})"
    )
    if change.changed and now.weight:
        text += f"\nnext: {following}"
    reporter.result({"changed": change.changed, **encode(now), "store_name": store}, text)
