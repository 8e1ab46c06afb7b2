"""`orchard canary`."""

from __future__ import annotations

import click

from orchard.channel_names import CANARY
from orchard.cli.verb import verb
from orchard.cli.version_argument import VERSION
from orchard.cli.weight_argument import WEIGHT, change_weight, print_weight
from orchard.reporter import Reporter

__all__ = ["canary"]


@verb(
    group="Registry",
    examples="orchard canary 10 latest --why 'nightly run'\norchard canary 50 --why 'an hour without a complaint'\n"
    "orchard canary 0 --why 'takes plums for grapes'",
)
@click.argument("weight", type=WEIGHT)
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
    change = change_weight(reporter, CANARY, weight, version, why, override_reason)
    following = f"orchard promote {change.pointer.version}, or orchard rollback --channel canary"
    print_weight(reporter, change, "to", following)
