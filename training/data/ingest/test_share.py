"""Splits for photos whose folders name none: a share of each class, chosen by the pictures themselves, is for the test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from training.data.ingest.scan import ScannedPhoto
from training.data.ingest.sources import UNSPLIT
from training.data.rejections import RejectedPhoto, RejectionReason

__all__ = ["TEST_SHARE", "assign_splits", "count_for_test"]

TEST_SHARE = 0.2
"""The share of each class of a project's photos that is for the test, where no folder names a split."""

MIXED = (
    "no folder names its split, but folders of other photos do: move it into <split>/<class>/, with a split such as "
    "train or test"
)


def count_for_test(pictures: int, share: float) -> int:
    """Return how many pictures of a class are for the test: of two or more at least one, and never all."""
    return min(max(1, round(share * pictures)), pictures - 1)


def assign_splits(
    rows: Iterable[ScannedPhoto], present: Mapping[str, tuple[str, str]], share: float
) -> tuple[list[ScannedPhoto], list[RejectedPhoto]]:
    """Give a split to each photo that has none.

    A picture that the dataset has keeps its split, so more photos in the same folders never move one. Of the new ones
    those with the smallest digests are for the test; copies of a picture stay together.

    Args:
        rows: decoded photos, some with the split `UNSPLIT`.
        present: `pixels_sha256` → (split, class) of the dataset's photos.
        share: of each class, 0 to 1; of two or more pictures at least one is for the test and one is not.

    Returns:
        The photos with a split, and the rejected ones: if some photos had a split already, the others are misplaced.
    """
    rows = list(rows)
    bare = [row for row in rows if row.split == UNSPLIT]
    if len(bare) < len(rows):
        refused = [RejectedPhoto(row.path, RejectionReason.MISPLACED, MIXED) for row in bare]
        return [row for row in rows if row.split != UNSPLIT], refused
    pictures: defaultdict[str, set[str]] = defaultdict(set)
    for row in bare:
        pictures[row.label].add(row.pixels_sha256)
    splits: dict[str, str] = {}
    for label in sorted(pictures):
        known = {pixels: present[pixels][0] for pixels in pictures[label] if pixels in present}
        here = sum(split == "test" for split in known.values())
        wanted = count_for_test(len(pictures[label]), share) - here
        new = sorted(pictures[label] - known.keys())
        chosen = set(new[: max(0, wanted)])
        for pixels in pictures[label]:
            splits.setdefault(pixels, known.get(pixels) or ("test" if pixels in chosen else "train"))
    return [replace(row, split=splits[row.pixels_sha256]) for row in bare], []
