"""`orchard pull`."""

from __future__ import annotations

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    extra="training",
    examples=(
        "orchard pull                             # the current version of ORCHARD_DATASET\n"
        "orchard pull --version 3\n"
        "orchard pull --dataset workshop --json"
    ),
)
@click.option("--version", type=click.IntRange(min=1), help="Which version. Default: the current one.")
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
def pull(reporter: Reporter, *, version: int | None, dataset: str | None) -> None:
    """Bring a published dataset here: exactly its photos, every byte checked.

    Reads the version in the store, writes data/NAME.dvc, fetches into data/NAME/ what is not here yet and compares
    every shard with the version's index. Needs no git. Run again, it fetches nothing; wrong bytes it replaces.
    """
    from orchard import settings
    from orchard.layout import require_name
    from training.data.dvc_project import DATA
    from training.data.pull import pull as pull_dataset

    found = settings.load()
    name = require_name(dataset or found.dataset)
    with reporter.status(f"fetching {DATA / name}/"):
        pulled = pull_dataset(found, DATA / name, version, reporter)
    index = pulled.index
    size = sum(shard.bytes for shard in index.shards)
    document = {
        "dataset": name,
        "version": pulled.version,
        "digest": index.digest,
        "photos": index.rows,
        "shards": len(index.shards),
        "bytes": size,
        "fetched": pulled.fetched,
        "folder": str(DATA / name),
    }
    what = f"{pulled.fetched} objects fetched" if pulled.fetched else "all of it was here"
    reporter.result(
        document,
        f"{DATA / name}/ is version {pulled.version} of {name}: {index.rows} photos in {len(index.shards)} shards "
        f"({size / 1e6:.1f} MB), checked; {what}",
    )
