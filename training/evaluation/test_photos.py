"""The photos that a model is evaluated on: each once, in one order, with its SHA-256."""

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
        sha256: of its bytes; identifies it.
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
    """Yield the photos of a split (``train`` or ``test``) in the order of the shards, 500 in memory at a time.

    With `check`, compare each shard with its SHA-256 first.

    Raises:
        DataError: there is no dataset.
        IntegrityError: a shard is missing or damaged.
    """
    for batch in shards.iterate(folder, columns=COLUMNS, splits=[split], check=check, rows=500):
        for row in batch.to_pylist():
            image = row["image"]
            yield TestPhoto(row["sha256"], image["path"] or "", row["source"], row["label"], image["bytes"])


def read_test_photos(folder: Path) -> list[TestPhoto]:
    """Read every test photo of a dataset once, sorted by SHA-256; the shards are verified first.

    So the order of shards and rows does not change the batches or the figures.

    Raises:
        DataError: there are no test photos, or one photo has two classes.
        IntegrityError: a shard is missing or damaged.
    """
    by_sha256: dict[str, TestPhoto] = {}
    for photo in stream_photos(folder, "test", check=True):
        twin = by_sha256.setdefault(photo.sha256, photo)
        if twin.label != photo.label:
            raise DataError(
                f"one photo is in the test split as {twin.label!r} ({twin.path}) and as {photo.label!r} ({photo.path})",
                hint="`orchard validate` lists such photos; remove one of the two and ingest again",
            )
    if not by_sha256:
        raise DataError(
            f"{folder} has no test photos, so a model cannot be evaluated",
            hint="ingest a folder with a split named test, Test, val or validation",
        )
    return [by_sha256[key] for key in sorted(by_sha256)]
