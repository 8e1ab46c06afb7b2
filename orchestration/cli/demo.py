"""`orchard demo`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Operate",
    extra="training,serving,store",
    env_file=False,  # its store, model and dataset are its own
    examples=(
        "orchard demo\n"
        "orchard demo --keep                      # keeps serving: predict, promote, roll back from another shell\n"
        "orchard demo --data ~/photos             # your own: <class>/*.jpg, or <split>/<class>/*.jpg\n"
        "orchard demo --data ~/photos --params my.yaml\n"
        "orchard demo --data synthetic            # drawn photos, on a machine without real ones"
    ),
)
@click.option("--data", help="A folder or tar of photos, or 'synthetic'.  [default: ../shared/data, else drawn photos]")
@click.option(
    "--params",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Parameters that replace the demo's: a whole params.yaml, or some keys of it.",
)
@click.option("--keep", is_flag=True, help="Serve until Ctrl-C.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".orchard/demo"),
    show_default=True,
    help="The demo's workspace; a second run reuses the results of the first one.",
)
def demo(reporter: Reporter, *, data: str | None, params: Path | None, keep: bool, folder: Path) -> None:
    """Run the whole loop on this machine: photos in, a served prediction out.

    Starts an embedded object store, ingests photos, trains, evaluates, gates, publishes, promotes, syncs, serves and
    predicts, each by the verb that a cluster runs too. Everything is in one folder; no process is left running.

    Of your own photos, a fifth of each class is kept for the test if no folder names a split. They are trained with the
    profile params.photos.yaml. Changes that you make to params.yaml and data/schema.yaml in the folder are kept.

    If the gate refuses the model, the demo shows the verdict and goes on to a prediction: of the version that was served
    before, or else of the refused model, by a recorded override in the demo's own store.
    """
    from orchestration.local.demo_loop import run

    run(reporter, data=data, params=params, keep=keep, folder=folder.absolute())
