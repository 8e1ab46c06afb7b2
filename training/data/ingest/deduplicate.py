"""Deduplication: each picture becomes one row, and never one in train and one in test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training.data.ingest.scan import ScannedPhoto
from training.data.rejections import RejectedPhoto, RejectionReason

__all__ = ["Deduplication", "deduplicate"]


@dataclass(frozen=True, slots=True)
class Deduplication:
    """The photos after deduplication.

    Attributes:
        rows: new photos in the order of the shards: by SHA-256, which mixes the classes and is reproducible.
        present: the number of photos that the dataset has already, in the same split and class.
        refused: duplicates and leaks.
        moved: how many of them the dataset has in another split or class.
        relabelled: the photos that the dataset has in the same split and only in another class: `pixels_sha256` → the
            class of all copies here.
    """

    rows: tuple[ScannedPhoto, ...]
    present: int
    refused: tuple[RejectedPhoto, ...]
    moved: int
    relabelled: dict[str, str]


def deduplicate(rows: Iterable[ScannedPhoto], present: Mapping[str, tuple[str, str]]) -> Deduplication:
    """Deduplicate decoded photos. The result does not depend on the order in which they were read.

    Args:
        rows: decoded photos.
        present: `pixels_sha256` → (split, class) of the dataset's photos. They all stay: shards never change.
    """
    by_picture: defaultdict[str, list[ScannedPhoto]] = defaultdict(list)
    for row in rows:
        by_picture[row.pixels_sha256].append(row)
    selected: list[ScannedPhoto] = []
    refused: list[RejectedPhoto] = []
    relabelled: dict[str, str] = {}
    known = moved = 0
    for pixels, copies in by_picture.items():
        if pixels in present:
            split, label = present[pixels]
            same = [row for row in copies if (row.split, row.label) == (split, label)]
            known += len(same)
            others = [row for row in copies if (row.split, row.label) != (split, label)]
            moved += len(others)
            if (
                not same
                and {row.split for row in others} == {split}
                and len(labels := {row.label for row in others}) == 1
            ):
                relabelled[pixels] = labels.pop()
            refused += [_reject(row, split, label, "in the dataset already") for row in others]
        else:
            # of a picture in both splits, the test copy stays: a smaller test set can flatter the model
            first, *others = sorted(copies, key=lambda row: (row.split != "test", row.path))
            selected.append(first)
            refused += [_reject(row, first.split, first.label, first.path) for row in others]
    return Deduplication(tuple(sorted(selected, key=lambda row: row.sha256)), known, tuple(refused), moved, relabelled)


def _reject(row: ScannedPhoto, split: str, label: str, where: str) -> RejectedPhoto:
    contradiction = "" if row.label == label else f" as {label!r}, here as {row.label!r}: one of them is wrong"
    if row.split != split:
        detail = (
            f"the same picture is in {split}{contradiction} ({where}); training on it would make the test worthless"
        )
        return RejectedPhoto(row.path, RejectionReason.LEAK, detail)
    return RejectedPhoto(row.path, RejectionReason.DUPLICATE, f"the same picture exists{contradiction} ({where})")
