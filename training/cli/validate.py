"""`orchard validate`."""

from __future__ import annotations

from pathlib import Path

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import schema_option


@verb(
    extra="training",
    examples="orchard validate\norchard validate --dataset workshop\norchard validate --json | jq .passed",
)
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
@schema_option("The rules for a dataset.")
def validate(reporter: Reporter, *, dataset: str | None, schema: Path) -> None:
    """Check a dataset against its schema: classes, counts, balance, sizes, overlap, checksums.

    Always writes artifacts/validation/validation.json and page.html. Exits with code 4 if the dataset breaks a rule. The
    same dataset and schema give the same files.
    """
    from orchard import settings
    from orchard.disk import require_space
    from orchard.errors import DataError
    from training.data.dvc_project import DATA
    from training.data.validation import validate as validation

    name = dataset or settings.load().dataset
    require_space(validation.OUTPUT, 0, "validating")  # before the photos are read
    with reporter.status(f"reading {DATA / name}/"):
        result = validation.validate(DATA / name, schema)
    validation.write(result)
    page = validation.OUTPUT / "page.html"
    warnings = [f"warning: {item.message}" for item in result.findings if item.level == "warning"]
    if not result.passed:
        broken = "\n".join(f"  {item.rule}: {item.message}" for item in result.errors)
        for warning in warnings:
            reporter.note(warning)
        raise DataError(f"the dataset {name!r} breaks rules of {schema}:\n{broken}", hint=f"{page} shows what to do")
    photos, classes = result.index.rows, len(result.index.classes)
    text = f"the dataset {name!r} follows every rule: {photos} photos of {classes} classes"
    reporter.result(result.document, "\n".join([text, *warnings, f"page: {page}"]))
