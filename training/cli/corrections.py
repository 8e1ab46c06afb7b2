"""`orchard data relabel` and `orchard data remove`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import schema_option

if TYPE_CHECKING:
    from orchard.dataset import CommitResult
    from training.data.corrections.correct import CorrectionResult, PlannedCorrection
    from training.data.corrections.listed_photos import PhotoList

SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of both verbs."""

    digests: tuple[str, ...]
    listed: Path | None
    take_all: bool
    dataset: str | None
    why: str
    dry_run: bool
    drop_class: bool
    no_push: bool


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.argument("digests", nargs=-1, metavar="[DIGEST]..."),
    click.option(
        "--from", "listed", type=_FILE, help="A list of photos: CSV, or the labels.json of `orchard validate --labels`."
    ),
    click.option("--all", "take_all", is_flag=True, help="Take every photo that labels.json lists."),
    click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET."),
    click.option("--why", default="", help="The reason; it is kept with the new version."),
    click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing."),
    click.option(
        "--drop-class", is_flag=True, help="Allow that a class loses its last photo, and is no class any more."
    ),
    click.option("--no-push", is_flag=True, help="Stay on this machine: no DVC remote, no version in the store."),
)


def _correction_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@verb(
    extra="training",
    examples="orchard data relabel 3fa9c1d2 9b04e7aa --label Kiwi --why 'seen on the label page'\n"
    "orchard data relabel --from artifacts/validation/labels.json 3fa9c1d2   # its suggested class\n"
    "orchard data relabel --from corrections.csv --dry-run                   # columns sha256,label",
)
@_correction_options
@click.option("--label", help="The class of photos to which the list gives none.")
@click.option("--new-class", is_flag=True, help="Allow a class that the dataset does not have.")
@schema_option("The schema, which may list the classes.")
def relabel(reporter: Reporter, *, label: str | None, new_class: bool, schema: Path, **options: Any) -> None:
    """Give photos of a dataset another class, in a new version.

    A DIGEST is the SHA-256 of a photo's stored bytes, or its first 8 digits or more. With --from and DIGESTs, only those
    photos of the list are taken. Of a labels.json, which lists suggestions, name the photos that you agree with, or --all.

    Only the shards that hold such photos are written again; versions of before stay as they are. The same command again
    changes nothing.
    """
    from training.data.corrections.correct import plan_relabelling
    from training.data.corrections.listed_photos import require_labels

    chosen = _Options(**options)
    if chosen.listed is None and label is None:
        raise click.UsageError("--label says which class the photos get, unless --from lists it")

    def plan(folder: Path, listed: PhotoList) -> PlannedCorrection:
        if label is not None and any(photo.label for photo in listed.photos):
            raise click.UsageError(f"{chosen.listed} lists the class of its photos: leave out --label")
        labelled = require_labels(listed, label, *_allowed(folder, schema, new_class))
        return plan_relabelling(folder, labelled, drop_class=chosen.drop_class)

    _correct(chosen, plan, reporter)


@verb(
    extra="training",
    examples="orchard data remove 3fa9c1d2 --why 'a photo of a person'\n"
    "orchard data remove --from blurred.csv --dry-run                        # column sha256",
)
@_correction_options
def remove(reporter: Reporter, **options: Any) -> None:
    """Remove photos from a dataset, in a new version.

    A DIGEST is the SHA-256 of a photo's stored bytes, or its first 8 digits or more. With --from and DIGESTs, only those
    photos of the list are taken. Of a labels.json, name the photos, or --all.

    Only the shards that hold such photos are written again. Versions of before keep the photos, and the store their bytes.
    Remove a photo from its source too: `orchard ingest` of a source that has it adds it again. The same command again on
    this machine changes nothing.
    """
    from training.data.corrections.correct import plan_removal

    chosen = _Options(**options)
    _correct(chosen, partial(plan_removal, drop_class=chosen.drop_class), reporter)


def _allowed(folder: Path, schema: Path, new_class: bool) -> tuple[tuple[str, ...] | None, str]:
    """The classes that photos may get, None: any; and what to do about another one."""
    from training.data import schema as schema_file
    from training.data.shards import read_index

    listed = schema_file.load(schema).rules(folder.name).known
    if listed is not None:
        return listed, f"{schema} lists the classes of {folder.name!r}"
    return (None if new_class else read_index(folder).classes), "for a new class add --new-class"


def _read_wanted(options: _Options) -> PhotoList:
    """The photos that the options name."""
    from training.data.corrections.listed_photos import named_photos, read_list, select

    if options.listed is None:
        if not options.digests or options.take_all:
            raise click.UsageError("name photos by DIGEST, or in a list with --from; --all needs such a list")
        return named_photos(options.digests)
    listed = read_list(options.listed)
    if options.digests and options.take_all:
        raise click.UsageError("give either DIGESTs or --all")
    if options.digests:
        return select(listed, options.digests, options.listed)
    if listed.suggested and not options.take_all:
        raise click.UsageError(
            f"{options.listed} lists {len(listed.photos)} suggestions of models: look at the photos on the page beside it, "
            "then name those that you agree with by DIGEST, or take them --all"
        )
    return listed


def _correct(options: _Options, plan: Callable[[Path, PhotoList], PlannedCorrection], reporter: Reporter) -> None:
    """Plan, make and commit a correction: under one lock, as an ingest does it."""
    from orchard import settings
    from orchard.key_names import require_name
    from orchard.store import open_store
    from training.data import dvc_tracking, staging
    from training.data.corrections.correct import apply
    from training.data.dvc_project import DATA, require_no_link
    from training.data.ingest.commit import check_lineage, commit
    from training.data.shards import read_index

    wanted, loaded = _read_wanted(options), settings.load()
    folder = DATA / require_name(options.dataset or loaded.dataset)
    require_no_link(DATA, folder)
    if options.no_push:
        read_index(folder)  # before a folder is made for the lock
    with staging.locked(DATA, reporter):
        if not options.no_push:
            check_lineage(open_store(loaded), folder)
        planned = plan(folder, wanted)
        if options.dry_run:
            _print(planned, None, None, options, reporter)
            return
        if not options.no_push:
            dvc_tracking.require_cache(folder)
        result, committed = apply(folder, planned, options.why), None
        if not options.no_push:
            with reporter.status(f"uploading {folder}/"):
                committed = commit(loaded, folder, result.index, reporter)
    _print(planned, result, committed, options, reporter)


def _print(
    planned: PlannedCorrection,
    result: CorrectionResult | None,
    committed: CommitResult | None,
    options: _Options,
    reporter: Reporter,
) -> None:
    index = result.index if result else planned.before
    document = {
        "dataset": index.name,
        "digest": index.digest,
        "version": committed.version.version if committed else None,
        "version_created": committed.created if committed else False,
        "dry_run": options.dry_run,
        "changed": [
            {
                "sha256": photo.digest,
                "path": photo.path,
                "split": photo.split,
                "source": photo.source,
                "label": photo.label,
                "new_label": photo.new_label,
            }
            for photo in planned.photos
        ],
        "done_already": planned.done,
        "emptied": planned.emptied,
        "photos": sum(sum(counts.values()) for counts in planned.counts.values()),
        "counts": planned.counts,
        "shards": len(planned.before.shards),
        "shards_rewritten": len(planned.shards),
    }
    reporter.result(document, "\n".join(_lines(planned, options, reporter, _state(index.digest, committed, options))))


def _state(digest: str, committed: CommitResult | None, options: _Options) -> str:
    if options.dry_run:
        return "nothing was changed (--dry-run)"
    where = f"version {committed.version.version} in the store" if committed else "on this machine only (--no-push)"
    return f"{where}, digest {digest[:12]}"


def _lines(planned: PlannedCorrection, options: _Options, reporter: Reporter, state: str) -> list[str]:
    from orchard.formatting import shorten

    lines = []
    if planned.photos:
        rows = [
            [photo.digest[:12], photo.split, photo.source, photo.label, photo.new_label or "removed", photo.path]
            for photo in planned.photos[:SHOWN]
        ]
        lines.append(reporter.table(["sha256", "split", "source", "class", "new class", "file"], rows))
        lines += [f"… and {len(planned.photos) - SHOWN} more"] if len(planned.photos) > SHOWN else []
        counted = Counter((photo.label, photo.new_label) for photo in planned.photos)
        kinds = [
            f"{number} {old} → {new}" if new else f"{number} {old}" for (old, new), number in counted.most_common()
        ]
        done = "removed" if planned.photos[0].new_label is None else "relabelled"
        done = f"would be {done}" if options.dry_run else done
        of = f"{len(planned.shards)} of {len(planned.before.shards)} shards"
        lines += ["", f"{done}: {len(planned.photos)} ({shorten(kinds, 6)}); {of} written again"]
    else:
        lines.append(f"nothing to change: the dataset has these photos ({planned.done}) corrected already")
    lines += [f"no photo of {name} is left" for name in planned.emptied]
    photos = sum(sum(counts.values()) for counts in planned.counts.values())
    lines.append(f"dataset {planned.before.name}: {photos} photos, {state}")
    return lines
