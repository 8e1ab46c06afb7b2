"""`orchard data croissant`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import schema_option


@verb(
    extra="training",
    examples="orchard data croissant --url https://example.com/fruits\norchard data croissant --dataset own --no-store",
)
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
@click.option("--url", default="", help="The address of the dataset's page.")
@click.option("--no-store", is_flag=True, help="Do not look for the dataset's version in the store.")
@schema_option("The schema, whose cards state licences and authors.")
def croissant(reporter: Reporter, *, dataset: str | None, url: str, no_store: bool, schema: Path) -> None:
    """Write a dataset's metadata in MLCommons Croissant 1.0, which catalogues and libraries read.

    The file is data/NAME.croissant.json, beside the folder of the shards that it names. Licence and authors are those of
    the dataset's card in data/schema.yaml; version and date are those of the store.
    """
    from orchard import settings
    from orchard.dataset import Dataset
    from orchard.key_names import require_name
    from orchard.store import open_store
    from training.data import schema as schema_file
    from training.data.croissant import croissant_document, not_stated, write_croissant
    from training.data.dvc_project import DATA
    from training.data.schema import DataCard
    from training.data.shards import read_index

    loaded = settings.load()
    name = require_name(dataset or loaded.dataset)
    index = read_index(DATA / name)
    card = schema_file.load(schema).cards.get(name, DataCard())
    version = None if no_store else Dataset(open_store(loaded), name).find(index.digest)
    document = croissant_document(index, card, version, url)
    path, missing = write_croissant(document), not_stated(document)
    lines = [f"{path}: {index.rows} photos of {len(index.classes)} classes, version {document['version']}"]
    if missing:
        lines.append(
            f"not stated, and required by Croissant: {', '.join(missing)}; cards.{name} in {schema} has licences and authors, "
            "--url the address, the store the date"
        )
    reporter.result(
        {"dataset": name, "path": path, "version": document["version"], "not_stated": missing}, "\n".join(lines)
    )
