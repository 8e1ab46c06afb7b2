"""The photos that a model is judged on: each of them once, in one order, with its identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchard.errors import DataError
from training.data import shards

__all__ = ["TestPhoto", "read_test_photos", "stream_photos"]

COLUMNS = ("image.bytes", "image.path", "label", "source", "sha256")


@dataclass(frozen=True, slots=True)
class TestPhoto:
    """One photo of a dataset.

    Attributes:
        sha256: of its bytes: its identity.
        path: its file name, for people.
        source: where it comes from, for example ``shop``.
        label: its class.
        image: the file's bytes.
    """

    sha256: str
    path: str
    source: str
    label: str
    image: bytes


def stream_photos(folder: Path, split: str, *, check: bool = False) -> Iterator[TestPhoto]:
    """Yield the photos of a split in the order of the shards, a few hundred in memory at a time.

    Args:
        folder: the dataset folder.
        split: ``train`` or ``test``.
        check: compare each shard with its SHA-256 first.

    Raises:
        DataError: there is no dataset.
        IntegrityError: a shard is missing or damaged.
    """
    for batch in shards.iterate(folder, columns=COLUMNS, splits=[split], check=check, rows=500):
        for row in batch.to_pylist():
            image = row["image"]
            yield TestPhoto(row["sha256"], image["path"] or "", row["source"], row["label"], image["bytes"])


def read_test_photos(folder: Path) -> list[TestPhoto]:
    """Read every test photo of a dataset once, ordered by identity; the shards are verified first.

    The order of shards and rows never matters: batches are the same, and so is every figure made of them.

    Raises:
        DataError: there are none, or one photo stands under two classes, so that no answer could be right.
        IntegrityError: a shard is missing or damaged.
    """
    kept: dict[str, TestPhoto] = {}
    for photo in stream_photos(folder, "test", check=True):
        twin = kept.setdefault(photo.sha256, photo)
        if twin.label != photo.label:
            raise DataError(
                f"one photo is in the test split as {twin.label!r} ({twin.path}) and as {photo.label!r} ({photo.path})",
                hint="`orchard validate` lists such photos; remove one of the two and ingest again",
            )
    if not kept:
        raise DataError(
            f"{folder} has no test photos, so nothing can be said of a model",
            hint="ingest a folder with a split named test, Test, val or validation",
        )
    return [kept[key] for key in sorted(kept)]
