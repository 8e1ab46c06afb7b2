"""`orchard corrections`: what people say that the model got wrong, on the console's page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb, verb_group
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.review.waiting_corrections import CorrectedClass, WaitingCorrections
    from orchard.store.objects import ObjectStore

__all__ = ["corrections"]

_SHORTEST = 8
_SHOWN = 5


@verb_group("Data")
def corrections() -> None:
    """Review what people say that the model got wrong: list it, look at the photos, remove what is done."""


@verb(
    examples='orchard corrections list\norchard corrections list --json | jq ".classes[] | select(.held | not) | .label"'
)
def list_(reporter: Reporter) -> None:
    """List the corrections that wait for review, by class.

    People send them on the console's page. No dataset changes before somebody has exported and ingested them. A class whose
    corrections come from one or two clients is held: `export` leaves it out.
    """
    _, model, found = _read(reporter)
    document = {
        "model": model,
        "classes": [_document(one) for one in found.classes],
        "disputed": list(found.disputed),
        "invalid": found.invalid,
    }
    text = f"no corrections of {model} wait for review"
    if found.classes:
        rows = [
            [one.label, "yes" if one.known else "no", len(one.photos), one.clients, f"{one.newest[:16]}Z",
             "held" if one.held else "-"]
            for one in found.classes
        ]  # fmt: skip
        text = reporter.table(["class", "of the model", "photos", "clients", "newest", ""], rows)
    reporter.result(document, "\n".join([text, *_remarks(found, held=True)]))


@verb(
    examples="orchard corrections export to-review\n"
    "orchard corrections export to-review --held              # also classes that one or two clients correct\n"
    "orchard ingest to-review --labels to-review/labels.csv --split train --source page"
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--held", is_flag=True, help="Also classes whose corrections come from one or two clients.")
def export(reporter: Reporter, *, folder: Path, held: bool) -> None:
    """Write the photos into FOLDER, a new one, by class, with a label file for `orchard ingest --labels`.

    Look through the folders first, and delete photos that are wrong. Photos that people give different classes are left out.
    The corrections stay in the store: `orchard corrections remove` ends them.
    """
    from orchard.review.correction_export import LABELS, export_corrections

    store, model, found = _read(reporter)
    chosen = [one for one in found.classes if held or not one.held]
    with reporter.status(f"writing photos into {folder}/"):
        done = export_corrections(store, model, chosen, folder)
    left_out = [one.label for one in found.classes if one not in chosen]
    document = {
        "model": model,
        "folder": str(folder),
        "photos": sum(done.labels.values()),
        "labels": done.labels,
        "held": left_out,
        "disputed": list(found.disputed),
        "missing": list(done.missing),
        "invalid": found.invalid,
    }
    lines = [f"{document['photos']} photos of {len(done.labels)} classes are in {folder}/, listed in {folder / LABELS}"]
    lines += [f"{len(done.missing)} photos are missing or damaged in the store"] if done.missing else []
    reporter.result(document, "\n".join([*lines, *_remarks(found, held=not held)]))


@verb(
    examples="orchard corrections remove --from to-review/labels.csv   # what was exported\n"
    "orchard corrections remove 3fa9c1d2 9b04e7aa"
)
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option(
    "--from", "listed", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A list of photos: the labels.csv of an export, or another CSV with the column sha256.",
)  # fmt: skip
def remove(reporter: Reporter, *, digests: tuple[str, ...], listed: Path | None) -> None:
    """Delete reviewed corrections, with their photos, from the store.

    A DIGEST is the SHA-256 of a stored photo, or its first 8 digits or more. Datasets are not changed. On a cluster it needs
    the key of housekeeping, which alone may delete. What nobody removes, `orchard housekeeping` deletes after 180 days.
    """
    from orchard.review.correction_export import listed_photos
    from orchard.review.waiting_corrections import remove_corrections

    if bool(digests) == bool(listed):
        raise click.UsageError("name photos by DIGEST, or in a list with --from")
    store, model = _open()
    photos = listed_photos(listed) if listed else _whole(store, model, digests)
    with reporter.status("deleting corrections"):
        count = remove_corrections(store, model, frozenset(photos))
    document = {"model": model, "photos": len(set(photos)), "removed": count}
    reporter.result(document, f"the corrections of {count} photos were removed, with the photos")


def _open() -> tuple[ObjectStore, str]:
    from orchard import settings
    from orchard.store import open_store

    loaded = settings.load()
    return open_store(loaded), loaded.model


def _read(reporter: Reporter) -> tuple[ObjectStore, str, WaitingCorrections]:
    from orchard.review.waiting_corrections import read_waiting

    store, model = _open()
    with reporter.status(f"reading corrections of {model}"):
        return store, model, read_waiting(store, model)


def _whole(store: ObjectStore, model: str, digests: tuple[str, ...]) -> list[str]:
    """The photos with corrections that digests, or their beginnings, name. Raises `DataError`: one names none, or several."""
    from orchard import layout
    from orchard.errors import DataError

    keys = (layout.parts_of_correction_key(stat.key) for stat in store.list(layout.corrections(model)))
    known = sorted({parts[0] for parts in keys if parts})
    found = []
    for digest in digests:
        fitting = [photo for photo in known if len(digest) >= _SHORTEST and photo.startswith(digest.lower())]
        if len(fitting) != 1:
            raise DataError(
                f"{len(fitting) or 'no'} photos with corrections have the digest {digest!r}",
                hint=f"expected the {_SHORTEST} first digits or more; the labels.csv of `orchard corrections export` has them",
            )
        found += fitting
    return found


def _document(one: CorrectedClass) -> dict[str, Any]:
    return {
        "label": one.label,
        "known": one.known,
        "photos": len(one.photos),
        "clients": one.clients,
        "held": one.held,
        "newest": one.newest,
    }


def _remarks(found: WaitingCorrections, *, held: bool) -> list[str]:
    from orchard.formatting import shorten
    from orchard.review.waiting_corrections import MOST_HELD

    names = [one.label for one in found.classes if one.held] if held else []
    lines = []
    if names:
        lines.append(
            f"held, for {MOST_HELD} clients or fewer correct them: {shorten(names, _SHOWN)}; `export --held` takes them"
        )
    if found.disputed:
        lines.append(f"{len(found.disputed)} photos are left out: people give them different classes")
    if found.invalid:
        lines.append(f"{len(found.invalid)} records are invalid, for example: {next(iter(found.invalid.values()))}")
    return ["", *lines] if lines else []


for _command in (list_, export, remove):
    corrections.add_command(_command)
