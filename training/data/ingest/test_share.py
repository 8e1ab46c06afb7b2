"""Splits for photos that have none: a share of each class, chosen by the pictures or their groups, is for the test."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from orchard.formatting import shorten
from training.data.ingest.placement import UNSPLIT
from training.data.ingest.scan import ScannedPhoto
from training.data.rejections import RejectedPhoto, RejectionReason
from training.data.whole_groups import count_all, fill_shares

__all__ = ["TEST_SHARE", "AssignedSplits", "assign_splits", "count_for_test"]

TEST_SHARE = 0.2
"""The share of each class of a project's photos that is for the test, where nothing names a split."""

MIXED = (
    "nothing gives it a split, but other photos have one: move it into <split>/<class>/, with a split such as "
    "train or test, or name its split in the label file"
)
SHOWN = 3
NO_GROUPS: Mapping[str, Collection[str]] = {}


@dataclass(frozen=True, slots=True)
class AssignedSplits:
    """Photos with a split, the rejected ones, and what a person should know, in a sentence each."""

    rows: list[ScannedPhoto]
    refused: list[RejectedPhoto]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Unit:
    """Pictures that stay together: one picture, or all of a group.

    Attributes:
        order: its digest; units with the smallest are for the test.
        groups: the names of its groups.
        pictures: the pictures, with their class.
        known: the splits of those that the dataset has, and of its photos of these groups.
    """

    order: str
    groups: set[str] = field(default_factory=set)
    pictures: set[tuple[str, str]] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    @property
    def counts(self) -> Counter[str]:
        """How many pictures of each class it has."""
        return Counter(label for _, label in self.pictures)


def count_for_test(pictures: int, share: float) -> int:
    """Return how many pictures of a class are for the test: of two or more at least one, and never all."""
    return min(max(1, round(share * pictures)), pictures - 1)


def assign_splits(
    rows: Iterable[ScannedPhoto],
    present: Mapping[str, tuple[str, str]],
    share: float,
    groups: Mapping[str, Collection[str]] = NO_GROUPS,
) -> AssignedSplits:
    """Give a split to each photo that has none.

    A picture that the dataset has keeps its split, so more photos in the same folders never move one. All pictures of a
    group are in one split: that of those which the dataset has, or train if it has some in both. Of the new pictures and
    groups those with the smallest digests are for the test, as long as each class comes nearer to its share; copies of a
    picture stay together.

    Args:
        rows: decoded photos, some with the split `UNSPLIT`.
        present: `pixels_sha256` → (split, class) of the dataset's photos.
        share: of each class, 0 to 1; of two or more pictures at least one is for the test and one is not, unless all are
            in one group.
        groups: the groups of the dataset's photos → the splits of these.

    Returns:
        The photos with a split, and the rejected ones: if some photos had a split already, the others are misplaced.
    """
    rows = list(rows)
    bare = [row for row in rows if row.split == UNSPLIT]
    if len(bare) < len(rows):
        refused = [RejectedPhoto(row.path, RejectionReason.MISPLACED, MIXED) for row in bare]
        kept = [row for row in rows if row.split != UNSPLIT]
        return AssignedSplits(kept, refused, tuple(_divided(kept, groups)))
    units = _units(bare, present, groups)
    tested = _choose(units, share)
    splits: dict[str, str] = {}
    for unit in units:
        split = "test" if unit.order in tested else "train"
        splits |= {pixels: present[pixels][0] if pixels in present else split for pixels, _ in unit.pictures}
    assigned = [replace(row, split=splits[row.pixels_sha256]) for row in bare]
    return AssignedSplits(
        assigned, [], (*_whole_classes(units, tested, set(present.values())), *_divided(assigned, groups))
    )


def _units(
    rows: list[ScannedPhoto], present: Mapping[str, tuple[str, str]], groups: Mapping[str, Collection[str]]
) -> list[_Unit]:
    """Return the pictures that stay together, by their digests. Groups that share a picture are one."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = name = above[above[name]]
        return name

    for row in rows:
        if row.group:
            above[top(row.pixels_sha256)] = top(f"group {row.group}")
    units: dict[str, _Unit] = {}
    for row in rows:
        name = top(row.pixels_sha256)
        unit = units.setdefault(name, _Unit(name))
        unit.pictures.add((row.pixels_sha256, row.label))
        unit.groups |= {row.group} - {""}
        unit.known |= {present[row.pixels_sha256][0]} if row.pixels_sha256 in present else set()
    for unit in units.values():
        if unit.groups:
            unit.known.update(*(groups.get(name, ()) for name in unit.groups))
            unit.order = hashlib.sha256(min(unit.groups).encode("utf-8", "surrogatepass")).hexdigest()
    return sorted(units.values(), key=lambda unit: unit.order)


def _choose(units: list[_Unit], share: float) -> set[str]:
    """Return the units that are for the test, by their `order`."""
    counts = [unit.counts for unit in units]
    totals = count_all(counts)
    wanted = {label: count_for_test(number, share) for label, number in totals.items()}
    known = [position for position, unit in enumerate(units) if unit.known == {"test"}]
    free = [position for position, unit in enumerate(units) if not unit.known]
    return {units[position].order for position in fill_shares(counts, wanted, known, free)}


def _whole_classes(units: list[_Unit], tested: set[str], present: Collection[tuple[str, str]]) -> Iterator[str]:
    """Name each class whose pictures are all in one group, unless the dataset has it in the other split."""
    of_class: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        for label in unit.counts:
            of_class[label].append(unit)
    for label, found in sorted(of_class.items()):
        if len(found) == 1 and found[0].groups:
            split, other = ("test", "train") if found[0].order in tested else ("train", "test")
            if (other, label) in present:
                continue
            groups = shorten([repr(name) for name in sorted(found[0].groups)], SHOWN)
            yield f"all photos of the class {label!r} are in one group ({groups}): they are in {split}, and none is in {other}"


def _divided(rows: Iterable[ScannedPhoto], groups: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Name the groups of these photos that have photos in both splits, also in the dataset."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    rows = list(rows)
    for name in {row.group for row in rows} & groups.keys():
        splits[name].update(groups[name])
    for row in rows:
        if row.group:
            splits[row.group].add(row.split)
    divided = sorted(name for name, found in splits.items() if len(found) > 1)
    if divided:
        names = shorten([repr(name) for name in divided], SHOWN)
        number = "1 group has" if len(divided) == 1 else f"{len(divided)} groups have"
        yield f"{number} photos in train and in test ({names}): the test may flatter the model"
