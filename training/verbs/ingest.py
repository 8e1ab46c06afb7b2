"""`orchard ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.output import Output
from orchard.cli.verb import verb

if TYPE_CHECKING:
    from orchard.settings import Settings
    from training.ingest.ingest import Outcome, Request
    from training.ingest.release import Released


@verb(
    extra="training",
    examples=(
        "orchard ingest ../shared/data/fruits.tar.gz ../shared/data/shop.tar.gz\n"
        "orchard ingest fruits.tar.gz --dataset workshop --classes Apricot,Banana,Kiwi\n"
        "orchard ingest new/2024-05-01 --split train --source shop     # new/2024-05-01/<class>/*.jpg\n"
        "orchard ingest kiwi.jpg --split train --label Kiwi --max-refused 0\n"
        "orchard ingest ~/photos --dataset own --no-push               # without an object store"
    ),
)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
@click.option("--classes", help="Take only these classes, separated by commas; leave the others out.")
@click.option(
    "--classes-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same from a file: one class a line, # begins a comment.",
)
@click.option("--source", help="Count all photos under this source. Default: by their folder, see data/schema.yaml.")
@click.option("--split", type=click.Choice(["train", "test"]), help="The split of photos whose folders name none.")
@click.option("--label", help="The class of photos whose folders name none; needs --split.")
@click.option(
    "--max-refused",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="The largest share of files that may be refused; above it nothing is ingested.",
)
@click.option("--no-push", is_flag=True, help="Only on this machine: no DVC remote, no version in the store.")
@click.option(
    "--schema",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("data/schema.yaml"),
    show_default=True,
    help="What photos and classes may be.",
)
def ingest(
    out: Output,
    *,
    sources: tuple[Path, ...],
    dataset: str | None,
    classes: str | None,
    classes_from: Path | None,
    source: str | None,
    split: str | None,
    label: str | None,
    max_refused: float,
    no_push: bool,
    schema: Path,
) -> None:
    """Bring photos into a dataset: decoded, checked, packed, versioned.

    A SOURCE is a folder or a tar archive with <split>/<class>/<photo> in it (splits: train, training, test, val,
    validation), or with --split a folder with <class>/<photo>, or with --label too a folder of photos or a single one.
    Every file is decoded in full and refused with a reason if it is no photo. New photos become new shards in
    data/NAME/, old ones stay as they are; the same photos again add nothing. All refusals: artifacts/ingest/refused.json.
    """
    from orchard import settings
    from training.ingest.ingest import Request

    if label is not None and split is None:
        raise click.UsageError("--label needs --split: a photo belongs to train or to test")
    found = settings.load()
    request = Request(
        sources,
        dataset or found.dataset,
        _classes(classes, classes_from),
        source,
        split,
        label,
        max_refused,
        schema,
    )
    outcome, released = _run(request, None if no_push else found, out)
    _print(outcome, released, out)


def _classes(listed: str | None, path: Path | None) -> tuple[str, ...] | None:
    if listed is None and path is None:
        return None
    if listed is not None and path is not None:
        raise click.UsageError("--classes and --classes-from say the same thing: give one of them")
    lines = listed.split(",") if path is None else path.read_text(encoding="utf-8").splitlines()  # type: ignore[union-attr]
    names = tuple(name for line in lines if (name := line.split("#")[0].strip()))
    if not names:
        raise click.UsageError("--classes and --classes-from need at least one name")
    return names


def _run(request: Request, settings: Settings | None, out: Output) -> tuple[Outcome, Released | None]:
    """Ingest and, unless `settings` is None, release: under one lock, and the store is asked before the work begins."""
    from orchard.store import open_store
    from training.ingest import staging
    from training.ingest.ingest import DATA, ingest
    from training.ingest.release import check_lineage, release

    folder = DATA / request.dataset
    with staging.locked(DATA, out.note):
        if settings is not None:
            check_lineage(open_store(settings), folder)
        outcome = ingest(request, out)
        if settings is None:
            return outcome, None
        with out.status(f"bringing {folder}/ to the store"):
            return outcome, release(settings, folder, outcome.index)


def _print(outcome: Outcome, released: Released | None, out: Output) -> None:
    from training.ingest import report
    from training.ingest.ingest import REPORT

    index, findings = outcome.index, outcome.findings
    document: dict[str, Any] = {
        "dataset": index.name,
        "digest": index.digest,
        "version": released.version if released else None,
        "version_created": released.created if released else False,
        "photos": index.rows,
        "classes": list(index.classes),
        "counts": index.counts,
        "shards": len(index.shards),
        "shards_added": outcome.shards_added,
        "added": findings.added,
        "present": findings.present,
        "refused": len(findings.refused),
        "reasons": report.count_reasons(findings.refused),
        "changed": len(findings.changed),
        "left_out": findings.left_out,
        "report": str(REPORT),
    }
    out.result(document, report.summary(findings, index, outcome.shards_added, document["version"], out))
