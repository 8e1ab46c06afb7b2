"""Corrections as a folder that a person looks through and `orchard ingest --labels` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchard import layout
from orchard.documents import sha256_hex
from orchard.errors import DataError, ObjectNotFound
from orchard.files import atomic_write
from orchard.photo_formats import SERVED
from orchard.review.waiting_corrections import CorrectedClass, PhotoInReview
from orchard.store.objects import ObjectStore

__all__ = ["LABELS", "ExportedCorrections", "export_corrections", "listed_photos"]

LABELS = "labels.csv"
"""The list of what was exported: the label file of the folder."""

_COLUMNS = ("file", "label", "sha256", "answered", "version", "corrections")
_SUFFIXES = dict(zip(SERVED, (".jpg", ".png"), strict=True))


@dataclass(frozen=True, slots=True)
class ExportedCorrections:
    """What was exported.

    Attributes:
        labels: how many photos, by class.
        missing: photos whose objects are gone, or have other bytes than their names say.
    """

    labels: dict[str, int]
    missing: tuple[str, ...]


def export_corrections(
    store: ObjectStore, model: str, classes: Iterable[CorrectedClass], folder: Path
) -> ExportedCorrections:
    """Write photos into folders by class, and `LABELS` at the end.

    Args:
        store: the store.
        model: the model's name.
        classes: the classes to export.
        folder: a new folder, or an empty one.

    Raises:
        DataError: the folder has something in it, or is none.
        StoreError: the store failed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder", hint="name a new folder: nothing is overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    rows, labels, missing = list[tuple[str, ...]](), dict[str, int](), list[str]()
    for one in classes:
        for photo in one.photos:
            body = _read(store, layout.corrected_photo(model, photo.sha256), photo.sha256)
            suffix = next((suffix for head, suffix in _SUFFIXES.items() if body.startswith(head)), None)
            if suffix is None:
                missing.append(photo.sha256)
                continue
            (folder / one.label).mkdir(exist_ok=True)
            path = f"{one.label}/{photo.sha256[:16]}{suffix}"
            (folder / path).write_bytes(body)
            labels[one.label] = labels.get(one.label, 0) + 1
            rows.append((path, *_described(photo)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((_COLUMNS, *rows))
    atomic_write(folder / LABELS, text.getvalue())
    return ExportedCorrections(labels, tuple(missing))


def _read(store: ObjectStore, key: str, sha256: str) -> bytes:
    """Return a photo, which others than the console may have written; empty: it is gone, or another one."""
    try:
        body = store.get(key).body
    except ObjectNotFound:
        return b""
    return body if sha256_hex(body) == sha256 else b""


def _described(photo: PhotoInReview) -> tuple[str, ...]:
    newest = photo.corrections[-1]
    return photo.label, photo.sha256, newest.answered, str(newest.version), str(len(photo.corrections))


def listed_photos(path: Path) -> list[str]:
    """Return the SHA-256 of the photos in a list: a `LABELS`, or another CSV with the column `sha256`.

    Raises:
        DataError: it cannot be read, or has no such column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if any(row.get("sha256") is None for row in rows):
        raise DataError(f"{path} has no column sha256", hint=f"expected the {LABELS} of `orchard corrections export`")
    return [row["sha256"].strip() for row in rows]
