"""`orchard data`: correct a dataset's photos, check its objects in the store, and put back what it has lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb, verb_group
from orchard.reporter import Reporter
from training.cli.corrections import relabel, remove
from training.cli.croissant_metadata import croissant
from training.cli.dataset_stats import stats

if TYPE_CHECKING:
    from training.data.remote_objects import RemoteCheck

_version = click.option("--version", type=click.IntRange(min=1), help="Only this version. Default: all.")
_dataset = click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")


@verb_group("Data")
def data() -> None:
    """Correct and count a dataset's photos; check them in the store, and put back what the store has lost."""


@verb(extra="training", examples="orchard data check\norchard data check --dataset workshop --version 3 --json")
@_version
@_dataset
def check(reporter: Reporter, *, version: int | None, dataset: str | None) -> None:
    """Read every object of a dataset in the store, and compare its bytes. Nothing is written.

    Exits with code 8 if an object is missing or has other bytes: then the versions that need it cannot be pulled.
    """
    _examine(reporter, version, dataset, put_back=False)


@verb(
    extra="training",
    examples="orchard data heal                        # where data/NAME/ is\norchard data heal --dataset workshop",
)
@_version
@_dataset
def heal(reporter: Reporter, *, version: int | None, dataset: str | None) -> None:
    """Check a dataset in the store, and put back what is missing or damaged from this machine.

    Takes the bytes from data/NAME/ or from DVC's cache, whatever version they are of; only the right bytes are written.
    Needs the rights of `orchard ingest`. Exits with code 8 if something remains.
    """
    _examine(reporter, version, dataset, put_back=True)


def _examine(reporter: Reporter, number: int | None, dataset: str | None, *, put_back: bool) -> None:
    from orchard import settings
    from orchard.dataset import Dataset
    from orchard.key_names import require_name
    from orchard.store import open_store
    from training.data import remote_objects
    from training.data.dvc_project import DATA

    loaded = settings.load()
    published = Dataset(open_store(loaded), require_name(dataset or loaded.dataset))
    published.require(number)
    versions = [published.version(each) for each in ([number] if number else published.versions())]
    with reporter.status(f"reading {published.name} in {published.store.name}"):
        if put_back:
            result = remote_objects.heal(published.store, versions, DATA / published.name, thorough=True)
        else:
            result = remote_objects.check(published.store, versions)
    _print(reporter, published.name, [each.version for each in versions], published.store.name, result, DATA)


def _print(reporter: Reporter, name: str, versions: list[int], store: str, result: RemoteCheck, folder: Path) -> None:
    from orchard.errors import IntegrityError
    from training.data.dvc_tracking import HEAL

    done = f"put back {', '.join(result.restored)}" if result.restored else "nothing was missing"
    if not result.sound:
        hint = HEAL if not result.restored else f"{HEAL}. From {folder / name} and DVC's cache here: {done}"
        raise IntegrityError(f"{store} {result.describe()}: {name!r} cannot be pulled whole", hint=hint)
    document = {
        "dataset": name,
        "versions": versions,
        "objects": result.checked,
        "restored": list(result.restored),
        "missing": [],
        "damaged": [],
    }
    which = f"version{'s' * (len(versions) != 1)} {', '.join(map(str, versions))}"
    reporter.result(document, f"{store} has all {result.checked} objects of {name}, {which}, each byte read; {done}")


for _command in (check, heal, relabel, remove, stats, croissant):
    data.add_command(_command)
