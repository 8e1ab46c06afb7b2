"""`orchard pull`."""

from __future__ import annotations

import shlex

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    group="Data",
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
    """Download a published dataset: exactly its photos, every byte checked.

    Reads the version in the store, writes data/NAME.dvc, downloads what data/NAME/ lacks and compares every shard with
    the version's index. Needs no git. A second run downloads nothing; damaged files are replaced.
    """
    from orchard import settings
    from orchard.key_names import require_name
    from training.data.dvc_project import DATA
    from training.data.pull import pull as pull_dataset

    loaded = settings.load()
    name = require_name(dataset or loaded.dataset)
    with reporter.status(f"downloading {DATA / name}/"):
        pulled = pull_dataset(loaded, DATA / name, version, reporter)
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
    what = f"{pulled.fetched} objects downloaded" if pulled.fetched else "nothing to download"
    reporter.result(
        document,
        f"{DATA / name}/ is version {pulled.version} of {name}: {index.rows} photos in {len(index.shards)} shards "
        f"({size / 1e6:.1f} MB), checked; {what}\n"
        f"next: orchard validate --dataset {shlex.quote(name)}",
    )
