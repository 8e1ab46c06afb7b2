"""`orchard validate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.backbone_options import BACKBONES, backbone_option, load_libraries, source_option
from training.cli.options import schema_option

if TYPE_CHECKING:
    from training.data.shards import Index
    from training.data.validation.label_report import LabelCheck


@verb(
    group="Data",
    extra="training",
    examples="orchard validate\norchard validate --dataset workshop\norchard validate --json | jq .passed\n"
    "orchard validate --labels --source shop",
)
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
@schema_option("The rules for a dataset.")
@click.option("--labels", is_flag=True, help="Find training photos whose label is probably wrong. Takes minutes.")
@click.option(
    "--near-duplicates/--no-near-duplicates",
    "near",
    default=True,
    help="Look for photos that are almost equal, across splits and classes; every photo is decoded.  [default: look]",
)
@backbone_option("all of them")
@source_option()
def validate(
    reporter: Reporter,
    *,
    dataset: str | None,
    schema: Path,
    labels: bool,
    near: bool,
    backbones: tuple[str, ...],
    sources: tuple[str, ...],
) -> None:
    """Check a dataset against its schema: classes, counts, balance, sizes, overlap, checksums.

    Always writes artifacts/validation/validation.json and page.html. Exits with code 4 if the dataset breaks a rule. The
    same dataset and schema give the same files; the page alone also says when, by whom and with which code it was made.

    Photos that are almost equal (re-encoded, resized, of one burst) and are in train and in test, or in two classes, are
    warnings, with pictures on the page. Frames of a turntable are near-copies by design and are only counted.

    With --labels, pretrained backbones look at the training photos. Photos that look like another class than their label
    are listed in labels.json and shown on the page, with the commands that correct them. They are no error: a person
    decides. --backbone and --source belong to --labels.
    """
    from orchard import settings
    from orchard.disk import require_space
    from orchard.errors import DataError
    from training.data.dvc_project import DATA
    from training.data.validation import validate as validation

    if (backbones or sources) and not labels:
        raise click.UsageError("--backbone and --source need --labels: nothing else of the validation uses them")
    name = dataset or settings.load().dataset
    require_space(validation.OUTPUT, 0, "validating")  # before the photos are read
    with reporter.status(f"reading {DATA / name}/"):
        result = validation.validate(DATA / name, schema, near=near)
    validation.write(result)
    checked = None
    if labels and result.content is not None:  # of damaged shards, no photo is read
        checked = _check_labels(DATA / name, result.index, list(backbones or BACKBONES), sources, reporter)
        validation.write(result, labels=checked, folder=DATA / name)
    page = validation.OUTPUT / "page.html"
    warnings = [f"warning: {item.message}" for item in result.findings if item.level == "warning"]
    warnings += [] if checked is None else [_text(checked)]
    if not result.passed:
        broken = "\n".join(f"  {item.rule}: {item.message}" for item in result.errors)
        for warning in warnings:
            reporter.note(warning)
        raise DataError(f"the dataset {name!r} breaks rules of {schema}:\n{broken}", hint=f"{page} shows what to do")
    photos, classes = result.index.rows, len(result.index.classes)
    text = f"the dataset {name!r} follows every rule: {photos} photos of {classes} classes"
    document = result.document | ({} if checked is None else {"labels": checked.document})
    following = [] if labels else _following()  # of labels, a list for a person comes first
    reporter.result(document, "\n".join([text, *warnings, f"page: {page}", *following]))


def _following() -> list[str]:
    if "DVC_STAGE" in os.environ:  # DVC goes on by itself
        return []
    return ["next: dvc repro" if Path("dvc.yaml").exists() else "next: orchard train"]


def _check_labels(
    folder: Path, index: Index, backbones: list[str], sources: tuple[str, ...], reporter: Reporter
) -> LabelCheck:
    load_libraries()
    from training.model.label_check import check_labels

    return check_labels(folder, index, backbones, sources, reporter)


def _text(check: LabelCheck) -> str:
    number, total = len(check.suspects), sum(check.checked.values())
    if not number:
        return f"labels: none of {total} training photos looks like another class than its label"
    return f"labels: {number} of {total} training photos look like another class than their label; look at them on the page"
