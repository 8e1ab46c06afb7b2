"""`orchard ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.output import Output
from orchard.cli.verb import verb
from training.cli.day_type import DayType

if TYPE_CHECKING:
    from orchard.settings import Settings
    from training.data.ingest.commit import DatasetCommitResult
    from training.data.ingest.ingest import IngestRequest, IngestResult


@verb(
    extra="training",
    examples=(
        "orchard ingest ../shared/data/fruits.tar.gz ../shared/data/shop.tar.gz\n"
        "orchard ingest ~/photos/new-plums --split train --label Plum   # a daily folder of one class\n"
        "orchard ingest ~/inbox --split train --source phone --max-refused 0\n"
        "orchard ingest ~/photos --dataset own --no-push               # without an object store\n"
        "orchard ingest --day 2026-11-24                                # what lies in the store for a day"
    ),
)
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="SOURCE...")
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
    help="The largest share of files that may be refused; above it nothing is ingested.  [default: 0.02; of a day 0.5]",
)
@click.option("--no-push", is_flag=True, help="Only on this machine: no DVC remote, no version in the store.")
@click.option(
    "--day", type=DayType(), metavar="YYYY-MM-DD", help="Instead of SOURCE: the photos in the store for this day."
)
@click.option(
    "--skip-code",
    type=click.IntRange(1, 125),
    metavar="CODE",
    help="With --day: end with this exit code where there is nothing new.",
)
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
    no_push: bool,
    day: str | None,
    skip_code: int | None,
    **options: Any,
) -> None:
    """Bring photos into a dataset: decoded, checked, packed, versioned.

    A SOURCE is a folder or a tar archive with <split>/<class>/<photo> in it (splits: train, training, test, val,
    validation), or with --split a folder with <class>/<photo>, or with --label too a folder of photos or a single one.
    Every file is decoded in full and refused with a reason if it is no photo. New photos become new shards in
    data/NAME/, old ones stay as they are; the same photos again add nothing. All refusals: artifacts/ingest/refused.json.

    With --day the source is incoming/DATASET/YYYY-MM-DD/<class>/<photo> in the store, for the split train unless --split
    or a folder before the class says otherwise. The dataset's current version is brought here first if it is not. The
    same day again adds what has come since.
    """
    from orchard import settings

    _check_usage(sources, day, no_push, skip_code, options["split"], options["label"])
    found = settings.load()
    request = _request(sources, found, day, options)
    if day is None:
        _print(*_run(request, None if no_push else found, out), out)
    elif not _ingest_day(request, found, day, options["split"], out) and skip_code is not None:
        click.get_current_context().exit(skip_code)


def _check_usage(
    sources: tuple[Path, ...],
    day: str | None,
    no_push: bool,
    skip_code: int | None,
    split: str | None,
    label: str | None,
) -> None:
    if bool(sources) == bool(day):
        raise click.UsageError("give a SOURCE or --day, one of them")
    if label is not None and split is None:
        raise click.UsageError("--label needs --split: a photo belongs to train or to test")
    if day and (no_push or label is not None):
        raise click.UsageError("--day goes from the store to the store: without --no-push and --label")
    if skip_code is not None and not day:
        raise click.UsageError("--skip-code goes with --day")


def _request(sources: tuple[Path, ...], found: Settings, day: str | None, options: dict[str, Any]) -> IngestRequest:
    from training.data.ingest import daily
    from training.data.ingest.ingest import MAX_REFUSED, IngestRequest

    given = options["max_refused"]
    return IngestRequest(
        sources,
        options["dataset"] or found.dataset,
        _classes(options["classes"], options["classes_from"]),
        options["source"],
        None if day else options["split"],
        options["label"],
        given if given is not None else daily.MAX_REFUSED if day else MAX_REFUSED,
        options["schema"],
    )


def _ingest_day(request: IngestRequest, found: Settings, day: str, split: str | None, out: Output) -> bool:
    """Ingest a day and print what came of it; returns whether there is something new."""
    from training.data.ingest.daily import ingest_day

    done = ingest_day(found, request, day, split or "train", out)
    more = {"day": day, "nothing_new": done.nothing_new or None}
    if done.outcome is None:
        out.result({"dataset": request.dataset, **more}, done.nothing_new)
    else:
        _print(done.outcome, done.released, out, more)
    return not done.nothing_new


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


def _run(
    request: IngestRequest, settings: Settings | None, out: Output
) -> tuple[IngestResult, DatasetCommitResult | None]:
    """Ingest and, unless `settings` is None, release: under one lock, and the store is asked before the work begins."""
    from orchard.store import open_store
    from training.data import staging
    from training.data.ingest.commit import check_lineage, release
    from training.data.ingest.ingest import DATA, ingest

    folder = DATA / request.dataset
    with staging.locked(DATA, out.note):
        if settings is not None:
            check_lineage(open_store(settings), folder)
        outcome = ingest(request, out)
        if settings is None:
            return outcome, None
        with out.status(f"bringing {folder}/ to the store"):
            return outcome, release(settings, folder, outcome.index)


def _print(
    outcome: IngestResult, released: DatasetCommitResult | None, out: Output, more: dict[str, Any] | None = None
) -> None:
    from training.data.ingest import ingest_report
    from training.data.ingest.ingest import REPORT

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
        "reasons": ingest_report.count_reasons(findings.refused),
        "changed": len(findings.changed),
        "left_out": findings.left_out,
        "report": str(REPORT),
        **(more or {}),
    }
    out.result(document, ingest_report.summary(findings, index, outcome.shards_added, document["version"], out))
