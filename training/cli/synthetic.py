"""`orchard synthetic`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Data",
    extra="training",
    examples=(
        "orchard synthetic .orchard/synthetic\n"
        "orchard synthetic /tmp/synthetic --classes 6 --photos 600 --seed 7\n"
        "orchard ingest .orchard/synthetic --dataset synthetic"
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--classes", default=8, show_default=True, help="How many kinds of fruit, 2 to 36.")
@click.option("--photos", default=2000, show_default=True, help="How many photos in all.")
@click.option("--seed", default=0, show_default=True, help="The same seed draws the same photos, byte for byte.")
def synthetic(reporter: Reporter, *, folder: Path, classes: int, photos: int, seed: int) -> None:
    """Draw synthetic photos, for machines without real ones.

    Writes DIR/Training/<class>/*.jpg and DIR/Test/<class>/*.jpg: drawn fruit on a turntable, 100×100 pixels, Test is a
    quarter of the turn. DIR must be new or empty; if it has these photos already, nothing is drawn. Synthetic photos
    let every program run; results on them say nothing about real photos.
    """
    from training.data.synthetic import generate

    with reporter.status(f"drawing {photos} photos of {classes} classes"):
        counts = generate(folder, count=classes, photos=photos, seed=seed)
    totals = {split: sum(by_class.values()) for split, by_class in counts.items()}
    document = {"folder": str(folder), "classes": sorted(counts["Training"]), "counts": counts, "seed": seed}
    text = f"drew {totals['Training']} Training and {totals['Test']} Test photos of {classes} classes in {folder}/"
    reporter.result(document, f"{text}\nnext: orchard ingest {folder} --dataset synthetic")
