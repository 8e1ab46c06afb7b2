"""`orchard canary`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchard.cli.registry import open_to_change
from orchard.cli.verb import verb
from orchard.cli.version_argument import VERSION, find_version
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.channels import ChannelChange

__all__ = ["canary"]


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


@verb(
    group="Registry",
    examples="orchard canary 10 latest --why 'nightly run'\norchard canary 50 --why 'an hour without a complaint'\n"
    "orchard canary 0 --why 'takes plums for grapes'",
)
@click.argument("weight", type=_Weight())
@click.argument("version", type=VERSION, required=False)
@click.option("--why", help="The reason; the history keeps it.  [default: run ORCHARD_RUN_ID]")
@click.option("--override-reason", help="Give traffic to a version that the gate has not accepted, for this reason.")
def canary(
    reporter: Reporter, weight: float, version: int | str | None, why: str | None, override_reason: str | None
) -> None:
    """Send WEIGHT percent of the traffic to VERSION (a number, `latest`, or a channel) by the channel canary.

    Without VERSION it is the one that the channel points to: its weight changes. The version is verified as by
    `orchard promote`. Fractions are allowed, in steps of 0.01; with 0 it stays the canary without traffic.

    A running `orchard sync` gives the weight to the router (`orchard route`) as soon as the model server serves the
    version. `orchard promote` of the version ends the canary, `orchard rollback --channel canary` does too.

    The same command again changes nothing, so it may be repeated after a crash.
    """
    from orchard.registry.canaries import CANARY, set_canary

    channel, intent = open_to_change(CANARY, why)
    registry = channel.registry
    number = None if version is None else find_version(registry, version)
    with reporter.status(f"verifying the canary of {registry.model}"):
        change = set_canary(registry, weight, intent, version=number, override_reason=override_reason)
    _print_weight(reporter, change)


def _print_weight(reporter: Reporter, change: ChannelChange) -> None:
    from orchard import env_files
    from orchard.documents import encode

    now, store = change.pointer, env_files.in_use()
    already = "" if change.changed else "already "
    text = f"canary of {now.model}" + (f" in {store}" if store else "")
    text += f": {already}{now.weight or 0:g} % of the traffic to version {now.version} (generation {now.generation})"
    if change.changed and now.weight:
        text += f"\nnext: orchard promote {now.version}, or orchard rollback --channel canary"
    reporter.result({"action": "canary", "changed": change.changed, **encode(now), "store_name": store}, text)
