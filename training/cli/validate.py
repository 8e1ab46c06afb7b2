"""`orchard validate`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter


@verb(
    extra="training",
    examples="orchard validate\norchard validate --dataset workshop\norchard validate --json | jq .passed",
)
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
@click.option(
    "--schema",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("data/schema.yaml"),
    show_default=True,
    help="What a dataset must be.",
)
def validate(reporter: Reporter, *, dataset: str | None, schema: Path) -> None:
    """Hold a dataset against its schema: classes, counts, balance, sizes, overlap, checksums.

    Writes artifacts/validation/validation.json and page.html, whatever it finds; ends with exit code 4 if a rule is
    broken. The same dataset and schema give the same files.
    """
    from orchard import settings
    from orchard.errors import DataError
    from training.data.ingest.ingest import DATA
    from training.data.validation import validate as validation

    name = dataset or settings.load().dataset
    with reporter.status(f"reading {DATA / name}/"):
        found = validation.validate(DATA / name, schema)
    validation.write(found)
    page = validation.OUTPUT / "page.html"
    remarks = [f"remark: {item.message}" for item in found.findings if item.level == "warning"]
    if not found.passed:
        broken = "\n".join(f"  {item.rule}: {item.message}" for item in found.errors)
        for remark in remarks:
            reporter.note(remark)
        raise DataError(f"the dataset {name!r} breaks rules of {schema}:\n{broken}", hint=f"{page} says what to do")
    photos, classes = found.index.rows, len(found.index.classes)
    text = f"the dataset {name!r} keeps every rule: {photos} photos of {classes} classes"
    reporter.result(found.document, "\n".join([text, *remarks, f"page: {page}"]))
