"""`orchard ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import day_option, schema_option, skip_code_option

if TYPE_CHECKING:
    from orchard.dataset import CommitResult
    from orchard.settings import Settings
    from training.data.ingest.ingest import IngestRequest, IngestResult


@verb(
    group="Data",
    extra="training",
    examples=(
        "orchard ingest ../shared/data/fruits.tar.gz ../shared/data/shop.tar.gz\n"
        "orchard ingest ~/photos/new-plums --split train --label Plum   # a daily folder of one class\n"
        "orchard ingest ~/inbox --split train --source phone --max-refused 0\n"
        "orchard ingest ~/photos --dataset own --no-push               # without an object store\n"
        "orchard ingest ~/photos --dataset own --test-share 0.2         # <class>/<photo>, without splits\n"
        "orchard ingest photos.zip --labels labels.csv --test-share 0.2 # a file says what each photo is: file,label\n"
        "orchard ingest                                                 # ORCHARD_PHOTOS, which `orchard init` has set\n"
        "orchard ingest --day 2026-11-24                                # the photos in the store for a day"
    ),
)
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE...]")
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
@click.option(
    "--classes", help="Take only these classes, separated by commas. A name with a comma needs quotes as in CSV."
)
@click.option(
    "--classes-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The same from a file: one class a line. A # that begins a line, or has spaces around it, begins a comment.",
)
@click.option("--source", help="Count all photos under this source. Default: by their folder, see data/schema.yaml.")
@click.option("--split", type=click.Choice(["train", "test"]), help="The split of photos whose folders name none.")
@click.option("--label", help="The class of photos whose folders name none; needs --split.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file that says what each photo is: CSV, TSV, JSON Lines, Parquet, COCO or Label Studio, recognised by content. "
    "It is here or in a SOURCE; paths in it are relative to the SOURCE.",
)
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of photos whose folders name no split, this share of each class is for the test, the rest for training.  "
    "[default: none; for ORCHARD_PHOTOS 0.2]",
)
@click.option(
    "--max-refused",
    type=click.FloatRange(0, 1),
    help="The largest share of files that may be rejected; above it nothing is ingested.  [default: 0.02; for a day 0.5]",
)
@click.option("--no-push", is_flag=True, help="Stay on this machine: no DVC remote, no version in the store.")
@day_option("Instead of SOURCE: the photos in the store for this day.", required=False)
@skip_code_option("With --day: exit with this code where there is nothing new.")
@schema_option("The schema: which photos and classes are valid.")
def ingest(
    reporter: Reporter,
    *,
    sources: tuple[Path, ...],
    no_push: bool,
    day: str | None,
    skip_code: int | None,
    **options: Any,
) -> None:
    """Add photos to a dataset: decoded, checked, packed, versioned.

    A SOURCE is a folder, a tar (also from a pipe, /dev/stdin) or a zip archive with <split>/<class>/<photo> in it (splits:
    train, training, test, val, validation), or with --split a folder with <class>/<photo>, or with --label too a folder of
    photos or a single one.
    With --test-share a source may hold <class>/<photo> without splits: of each class, the photos with the smallest digests
    are for the test, and photos that the dataset has keep their split.
    With --labels a file names each photo's class, and perhaps split, source and group; the folders are free. Photos of one
    group stay in one split. A metadata.csv, .jsonl or .parquet with the columns file_name and label is used without it.
    Every file is decoded in full and rejected with a reason if it is not a valid photo. New photos become new shards in
    data/NAME/; old shards never change; the same photos again add nothing. artifacts/ingest/refused.json lists all
    rejections.

    Without a SOURCE the photos are those of ORCHARD_PHOTOS, with the label file ORCHARD_LABELS, as `orchard init` has
    written them into the project's .env.

    With --day the source is incoming/DATASET/YYYY-MM-DD/<class>/<photo> in the store, for the split train unless --split
    or a folder before the class says otherwise. The dataset's current version is downloaded first if it is not here. The
    same day again adds the photos that have arrived since.
    """
    from orchard import settings

    loaded = settings.load()
    if not sources and not day and loaded.photos is not None:
        sources, options["test_share"] = (loaded.photos,), options["test_share"] or _share(options["split"])
        options["labels"] = options["labels"] or loaded.labels
    _check_usage(sources, day, no_push, skip_code, options["split"], options["label"])
    if options["test_share"] is not None and (day or options["split"]):
        raise click.UsageError("--test-share is for sources whose folders name no split: leave out --split and --day")
    if options["labels"] is not None and (day or options["label"]):
        raise click.UsageError("--labels names the class of each photo in a SOURCE: leave out --label and --day")
    request = _request(sources, loaded, day, options)
    if day is None:
        _print(*_run(request, None if no_push else loaded, reporter), reporter)
    elif not _ingest_day(request, loaded, day, options["split"], reporter) and skip_code is not None:
        click.get_current_context().exit(skip_code)


def _share(split: str | None) -> float | None:
    """Return the share of the project's photos that is for the test, unless a split is named for all of them."""
    from training.data.ingest.test_share import TEST_SHARE

    return None if split else TEST_SHARE


def _check_usage(
    sources: tuple[Path, ...],
    day: str | None,
    no_push: bool,
    skip_code: int | None,
    split: str | None,
    label: str | None,
) -> None:
    if bool(sources) == bool(day):
        raise click.UsageError("give either a SOURCE or --day, or set ORCHARD_PHOTOS")
    if label is not None and split is None:
        raise click.UsageError("--label needs --split, which is train or test")
    if day and (no_push or label is not None):
        raise click.UsageError("--day reads from the store and writes to it: leave out --no-push and --label")
    if skip_code is not None and not day:
        raise click.UsageError("--skip-code needs --day")


def _request(sources: tuple[Path, ...], settings: Settings, day: str | None, options: dict[str, Any]) -> IngestRequest:
    from training.data.ingest import daily
    from training.data.ingest.ingest import MAX_REFUSED, IngestRequest

    default = daily.MAX_REFUSED if day else MAX_REFUSED
    return IngestRequest(
        sources,
        options["dataset"] or settings.dataset,
        _classes(options["classes"], options["classes_from"]),
        options["source"],
        None if day else options["split"],
        options["label"],
        options["test_share"],
        options["labels"],
        default if options["max_refused"] is None else options["max_refused"],
        options["schema"],
    )


def _ingest_day(request: IngestRequest, settings: Settings, day: str, split: str | None, reporter: Reporter) -> bool:
    """Ingest a day and print the result; return whether there are new photos."""
    from training.data.ingest.daily import ingest_day

    result = ingest_day(settings, request, day, split or "train", reporter)
    more = {"day": day, "nothing_new": result.nothing_new or None}
    if result.outcome is None:
        reporter.result({"dataset": request.dataset, **more}, result.nothing_new)
    else:
        _print(result.outcome, result.committed, reporter, more)
    return not result.nothing_new


def _classes(listed: str | None, path: Path | None) -> tuple[str, ...] | None:
    if listed is None and path is None:
        return None
    if listed is not None and path is not None:
        raise click.UsageError("give either --classes or --classes-from")
    names = _parse_names(listed) if listed is not None else _read_names(path)  # type: ignore[arg-type]
    if not names:
        raise click.UsageError("--classes and --classes-from need at least one name")
    return names


def _parse_names(listed: str) -> tuple[str, ...]:
    """The names of a line of CSV: ``Kiwi, "Tomato, red"``."""
    import csv

    rows = csv.reader(listed.splitlines(), skipinitialspace=True)
    return tuple(name for row in rows for field in row if (name := field.strip()))


def _read_names(path: Path) -> tuple[str, ...]:
    """The names of a file with one name a line. A name may hold commas, quotation marks and ``#``, as ``C#`` does."""
    import re

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not a text in UTF-8: {error}") from error
    names = (re.split(r"\s+#\s", line)[0].strip() for line in lines if not line.lstrip().startswith("#"))
    return tuple(name for name in names if name)


def _run(
    request: IngestRequest, settings: Settings | None, reporter: Reporter
) -> tuple[IngestResult, CommitResult | None]:
    """Ingest and, unless `settings` is None, commit: under one lock. The store is checked before the work begins."""
    from orchard.store import open_store
    from training.data import dvc_tracking, staging
    from training.data.dvc_project import DATA, require_no_link
    from training.data.ingest.commit import check_lineage, commit
    from training.data.ingest.ingest import ingest

    folder = DATA / request.dataset
    require_no_link(DATA, folder)
    with staging.locked(DATA, reporter):
        if settings is not None:
            check_lineage(open_store(settings), folder)
            dvc_tracking.require_cache(folder)  # before the photos are decoded
        outcome = ingest(request, reporter)
        if settings is None:
            return outcome, None
        with reporter.status(f"uploading {folder}/"):
            return outcome, commit(settings, folder, outcome.index, reporter)


def _print(
    outcome: IngestResult, committed: CommitResult | None, reporter: Reporter, more: dict[str, Any] | None = None
) -> None:
    from training.data.ingest import ingest_report
    from training.data.ingest.ingest import REPORT

    index, findings = outcome.index, outcome.findings
    document: dict[str, Any] = {
        "dataset": index.name,
        "digest": index.digest,
        "version": committed.version.version if committed else None,
        "version_created": committed.created if committed else False,
        "photos": index.rows,
        "classes": list(index.classes),
        "counts": index.counts,
        "shards": len(index.shards),
        "shards_added": outcome.shards_added,
        "added": findings.added,
        "present": findings.present,
        "found": findings.found,
        "refused": len(findings.refused),
        "moved": findings.moved,
        "advice": findings.advice or None,
        "reasons": ingest_report.count_reasons(findings.refused),
        "changed": len(findings.changed),
        "notes": len(findings.notes),
        "left_out": findings.left_out,
        "ignored": findings.ignored,
        "not_found": list(findings.not_found),
        "without_split": findings.without_split,
        "warnings": list(findings.warnings),
        "report": str(REPORT),
        **(more or {}),
    }
    reporter.result(
        document, ingest_report.summary(findings, index, outcome.shards_added, document["version"], reporter)
    )
