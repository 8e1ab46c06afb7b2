"""`orchard run`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from orchestration.cli.loop_options import photos_option


@verb(
    group="Operate",
    extra="training,store",
    examples=(
        "orchard run\n"
        "orchard run --photos ../more-photos      # more photos than those of ORCHARD_PHOTOS\n"
        "orchard run --force 'the photos of Plum are mislabelled'\n"
        "ORCHARD_RUN_ID=first orchard run         # a name of your own for the run"
    ),
)
@photos_option("the dataset of the store")
@click.option("--force", default="", metavar="REASON", help="Accept a refused candidate; kept permanently.")
def run(reporter: Reporter, *, photos: Path | None, force: str) -> None:
    """Run the whole loop in a project: from its photos to a model that can be served.

    Ingests the photos, then validates, trains, evaluates, gates, publishes and promotes, each by the verb of that name. The run
    is recorded: `orchard runs` lists it. An interrupted run is resumed by the same command: DVC skips what is done, and a
    training resumes after its last whole epoch. Without new photos, parameters, rules or code nothing is done. If the gate
    refuses the model, the exit code is 5, and what was served is served still.

    Where no store is set (ORCHARD_STORE_*) and none runs in this folder, the embedded one in .orchard/store runs as long as
    this command. The run's id names its inputs, unless ORCHARD_RUN_ID is set.
    """
    from orchestration.local import project_run

    project_run.run(reporter, photos=photos, force=force)
