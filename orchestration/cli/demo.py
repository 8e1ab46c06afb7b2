"""`orchard demo`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    extra="training,serving,store",
    examples=(
        "orchard demo\n"
        "orchard demo --keep                      # keeps serving: predict, promote, roll back from another shell\n"
        "orchard demo --data ~/photos             # your own: <split>/<class>/*.jpg, splits train and test\n"
        "orchard demo --data synthetic            # drawn photos, on a machine without real ones"
    ),
)
@click.option("--data", help="A folder or tar of photos, or 'synthetic'.  [default: ../shared/data, else drawn photos]")
@click.option("--keep", is_flag=True, help="Serve until Ctrl-C.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".orchard/demo"),
    show_default=True,
    help="The demo's workspace; a second run reuses the results of the first one.",
)
def demo(reporter: Reporter, *, data: str | None, keep: bool, folder: Path) -> None:
    """Run the whole loop on this machine: photos in, a served prediction out.

    Starts an embedded object store, ingests photos, trains, evaluates, gates, publishes, promotes, syncs, serves and
    predicts, each by the verb that a cluster runs too. Everything is in one folder; no process is left running.
    """
    from orchestration.local.demo_loop import run

    run(reporter, data=data, keep=keep, folder=folder.absolute())
