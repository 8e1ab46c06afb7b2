"""Which of the decoded photos become rows: each picture once, and never on both sides of the split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from training.data.ingest.scan import ScannedPhoto
from training.data.rejections import RejectedPhoto, RejectionReason

__all__ = ["Deduplication", "select"]


@dataclass(frozen=True, slots=True)
class Deduplication:
    """What becomes of the photos.

    Attributes:
        rows: new photos, in the order in which they are stored: by SHA-256, which is random and the same every time.
        present: how many the dataset has already, in the same split and class.
        refused: duplicates and leaks.
    """

    rows: tuple[ScannedPhoto, ...]
    present: int
    refused: tuple[RejectedPhoto, ...]


def select(rows: Iterable[ScannedPhoto], present: Mapping[str, tuple[str, str]]) -> Deduplication:
    """Choose. The result depends on what the sources hold, not on the order in which they were read.

    Args:
        rows: decoded photos.
        present: `pixels_sha256` → (split, class) of the photos in the dataset. They stay: shards never change.
    """
    by_picture: defaultdict[str, list[ScannedPhoto]] = defaultdict(list)
    for row in rows:
        by_picture[row.pixels_sha256].append(row)
    kept: list[ScannedPhoto] = []
    refused: list[RejectedPhoto] = []
    known = 0
    for pixels, copies in by_picture.items():
        if pixels in present:
            split, label = present[pixels]
            same = [row for row in copies if (row.split, row.label) == (split, label)]
            known += len(same)
            others = [row for row in copies if (row.split, row.label) != (split, label)]
            refused += [_refuse(row, split, label, "in the dataset already") for row in others]
        else:
            # of a picture in both splits the test copy stays: a test that shrinks flatters, a training set does not
            first, *others = sorted(copies, key=lambda row: (row.split != "test", row.path))
            kept.append(first)
            refused += [_refuse(row, first.split, first.label, first.path) for row in others]
    return Deduplication(tuple(sorted(kept, key=lambda row: row.sha256)), known, tuple(refused))


def _refuse(row: ScannedPhoto, split: str, label: str, where: str) -> RejectedPhoto:
    contradiction = "" if row.label == label else f" as {label!r}, here as {row.label!r}: one of them is wrong"
    if row.split != split:
        detail = f"the same picture is in {split}{contradiction} ({where}); learning it would make the test worthless"
        return RejectedPhoto(row.path, RejectionReason.LEAK, detail)
    return RejectedPhoto(row.path, RejectionReason.DUPLICATE, f"the same picture is there{contradiction} ({where})")
