"""`orchard shadow`."""

from __future__ import annotations

import click

from orchard.channel_names import SHADOW
from orchard.cli.verb import verb
from orchard.cli.version_argument import VERSION
from orchard.cli.weight_argument import WEIGHT, change_weight, print_weight
from orchard.reporter import Reporter

__all__ = ["shadow"]


@verb(
    group="Registry",
    examples="orchard shadow 10 latest --why 'nightly run'\norchard shadow 100 --why 'no errors at 10 %'\n"
    "orchard shadow 0 --why 'seen enough'",
)
@click.argument("weight", type=WEIGHT)
@click.argument("version", type=VERSION, required=False)
@click.option("--why", help="The reason; the history keeps it.  [default: run ORCHARD_RUN_ID]")
@click.option("--override-reason", help="Mirror to a version that the gate has not accepted, for this reason.")
def shadow(
    reporter: Reporter, weight: float, version: int | str | None, why: str | None, override_reason: str | None
) -> None:
    """Mirror WEIGHT percent of the predictions to VERSION (a number, `latest`, or a channel) by the channel shadow.

    Callers get the answers of stable and canary, as without it. The router sends a copy of the request to the shadow and
    drops its answer: nobody waits for it, and its failures reach nobody.

    Without VERSION it is the one that the channel points to: its weight changes. The version is verified as by
    `orchard promote`. Fractions are allowed, in steps of 0.01; with 0 it stays the shadow without traffic.

    A running `orchard sync` gives the weight to the router (`orchard route`) as soon as the model server serves the
    version. `orchard promote` of the version ends the shadow, `orchard rollback --channel shadow` does too.

    The same command again changes nothing, so it may be repeated after a crash.
    """
    change = change_weight(reporter, SHADOW, weight, version, why, override_reason)
    following = "orchard canary 1 shadow --why …, or orchard shadow 0 --why …"
    print_weight(reporter, change, "mirrored to", following)
