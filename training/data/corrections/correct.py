"""Corrects a dataset folder: other labels, removed photos. Only the shards that hold such photos are written again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchard import documents
from orchard.disk import require_space, writing_to
from orchard.errors import DataError
from orchard.formatting import shorten
from training.data import correction_log, staging
from training.data.corrections.listed_photos import PhotoList, resolve
from training.data.ingest.shard_writer import write_table
from training.data.shards import SPLITS, Index, Shard, read_groups, read_index, read_originals, read_shard, verify

__all__ = ["CorrectedPhoto", "CorrectionResult", "PlannedCorrection", "apply", "plan_relabelling", "plan_removal"]

UNCHANGED = "the dataset is unchanged"


@dataclass(frozen=True, slots=True)
class CorrectedPhoto:
    """A photo that a correction changes.

    Attributes:
        digest: SHA-256 (hex) of its bytes.
        path: its file name.
        split: ``train`` or ``test``.
        source: where it comes from.
        label: its class in the dataset.
        new_label: its class after the correction; None: it is removed.
        shard: the position of its shard in the index.
    """

    digest: str
    path: str
    split: str
    source: str
    label: str
    new_label: str | None
    shard: int


@dataclass(frozen=True, slots=True)
class PlannedCorrection:
    """A correction that is possible, and not yet made.

    Attributes:
        before: the index that it starts from.
        photos: the photos that it changes, in the order of the shards.
        done: how many of the named photos are as they shall be already.
    """

    before: Index
    photos: tuple[CorrectedPhoto, ...]
    done: int

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Photos by split and class after the correction."""
        new = {photo.new_label for photo in self.photos if photo.new_label}
        counted = {split: Counter(self.before.counts[split]) for split in SPLITS}
        for photo in self.photos:
            counted[photo.split][photo.label] -= 1
            if photo.new_label is not None:
                counted[photo.split][photo.new_label] += 1
        emptied = {photo.label for photo in self.photos if not any(counted[split][photo.label] for split in SPLITS)}
        classes = sorted({*self.before.classes, *new} - emptied)
        return {split: {label: counted[split][label] for label in classes} for split in SPLITS}

    @property
    def emptied(self) -> list[str]:
        """Each ``split/class`` whose last photo it takes away."""
        after, before = self.counts, self.before.counts
        pairs = [(split, label) for split in SPLITS for label in self.before.classes]
        return [f"{split}/{label}" for split, label in pairs if before[split][label] and not after[split].get(label, 0)]

    @property
    def shards(self) -> list[int]:
        """The positions of the shards that are written again."""
        return sorted({photo.shard for photo in self.photos})

    @property
    def revision(self) -> str:
        """What names the corrections of the index after it."""
        changes = {photo.digest: photo.new_label for photo in self.photos}
        return documents.digest({"before": self.before.digest, "changes": changes})


@dataclass(frozen=True, slots=True)
class CorrectionResult:
    """The dataset's index after a correction, and how many of its shards were written again."""

    index: Index
    rewritten: int


def plan_relabelling(folder: Path, listed: PhotoList, *, drop_class: bool = False) -> PlannedCorrection:
    """Find the photos whose class changes. Nothing is written.

    Args:
        folder: the dataset folder.
        listed: the photos, each with its new class.
        drop_class: a class may lose its last photo; then the dataset has the class no more.

    Raises:
        DataError: a digest is unknown or ambiguous, a photo has two new classes or not the old one of the list, or a
            class would lose its last photo.
        IntegrityError: the dataset is damaged.
    """
    present = list(_read_photos(folder))
    full = _resolve(folder, listed, {photo.digest for photo in present})
    wanted: dict[str, str] = {}
    expected: dict[str, str] = {}
    for photo in listed.photos:
        digest, new = full[photo.digest], photo.label or ""
        if wanted.setdefault(digest, new) != new:
            text = f"{photo.digest} is to be {wanted[digest]!r} and {new!r}; nothing was changed"
            raise DataError(text, hint="name each photo once")
        if photo.before is not None:
            expected[digest] = photo.before
    _require_expected(present, wanted, expected)
    changed = [
        replace(photo, new_label=wanted[photo.digest])
        for photo in present
        if photo.digest in wanted and photo.label != wanted[photo.digest]
    ]
    done = len(wanted) - len({photo.digest for photo in changed})
    return _require_classes(PlannedCorrection(read_index(folder), tuple(changed), done), drop_class)


def plan_removal(folder: Path, listed: PhotoList, *, drop_class: bool = False) -> PlannedCorrection:
    """Find the photos to remove. Nothing is written.

    Args:
        folder: the dataset folder.
        listed: the photos. Those that this machine has removed before are not there any more, which is no error.
        drop_class: as above.

    Raises:
        DataError: a digest is unknown or ambiguous, or a class would lose its last photo.
        IntegrityError: the dataset is damaged.
    """
    present = list(_read_photos(folder))
    known = {photo.digest for photo in present}
    removed = set(correction_log.read_log(folder).removed)
    wanted = set(_resolve(folder, listed, known | removed).values())
    gone = tuple(photo for photo in present if photo.digest in wanted)
    return _require_classes(PlannedCorrection(read_index(folder), gone, len(wanted - known)), drop_class)


def _resolve(folder: Path, listed: PhotoList, known: set[str]) -> dict[str, str]:
    """Return the full digest of the stored bytes for each digest of a list, which may also be that of an original file."""
    stored = {file: digest for digest, file in _read_originals(folder).items()}
    full = resolve([photo.digest for photo in listed.photos], known | set(stored), str(folder))
    return {given: stored.get(digest, digest) for given, digest in full.items()}


def _read_originals(folder: Path) -> dict[str, str]:
    return {
        stored: file for shard in read_index(folder).shards for stored, file in read_originals(folder, shard).items()
    }


def _read_photos(folder: Path) -> Iterator[CorrectedPhoto]:
    """Yield every photo of a dataset, without a change."""
    columns = ("sha256", "image.path", "split", "source", "label")
    for number, shard in enumerate(read_index(folder).shards):
        table = read_shard(folder, shard, columns)
        paths = [name or "" for image in table["image"].to_pylist() for name in [image["path"]]]
        digests, splits, sources, labels = (table[name].to_pylist() for name in ("sha256", "split", "source", "label"))
        for values in zip(digests, paths, splits, sources, labels, strict=True):
            yield CorrectedPhoto(*values, None, number)


def _require_expected(present: list[CorrectedPhoto], wanted: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raise if a photo has neither the class that it had when the list was made, nor the new one."""
    other = [
        f"{photo.digest[:12]} is {photo.label!r}, not {expected[photo.digest]!r}"
        for photo in present
        if photo.digest in expected and photo.label not in (expected[photo.digest], wanted[photo.digest])
    ]
    if other:
        raise DataError(
            f"the list was made for another version of the dataset: {shorten(other, 3)}; nothing was changed",
            hint="run `orchard validate --labels` again",
        )


def _require_classes(planned: PlannedCorrection, drop_class: bool) -> PlannedCorrection:
    lost = sorted(set(planned.before.classes) - set(planned.counts[SPLITS[0]]))
    if lost and not drop_class:
        raise DataError(
            f"no photo of {shorten(lost, 6)} would be left; nothing was changed",
            hint="leave one photo of each class, or drop the class with --drop-class",
        )
    return planned


def apply(folder: Path, planned: PlannedCorrection, why: str = "") -> CorrectionResult:
    """Make a correction. Killed at any point, the dataset is the old one or the new one.

    The caller holds `staging.locked` since the plan was made.

    Raises:
        IntegrityError: a shard is damaged; nothing has changed.
        DiskError: the disk is full; nothing has changed.
    """
    if not planned.photos:
        staging.sweep(folder)
        return CorrectionResult(planned.before, 0)
    before = planned.before
    changed = {position: before.shards[position] for position in planned.shards}
    require_space(folder.parent, sum(shard.bytes for shard in changed.values()), f"correcting {folder}/")
    with staging.staged(folder.parent, folder.name) as stage, writing_to(folder.parent, UNCHANGED):
        shards = [_rewrite(stage, folder, shard, number, planned) for number, shard in enumerate(before.shards)]
        counts = planned.counts
        kept = tuple(shard for shard in shards if shard is not None)
        index = Index(1, before.name, tuple(counts[SPLITS[0]]), kept, counts, planned.revision)
        removed = [photo.digest for photo in planned.photos if photo.new_label is None]
        originals = _read_originals(folder)
        removed += [originals[digest] for digest in removed if digest in originals]
        correction_log.record(folder, before, planned.revision, why, removed)
        staging.install(stage, folder, index)
        staging.sweep(folder)
    return CorrectionResult(index, len(changed))


def _rewrite(stage: Path, folder: Path, shard: Shard, number: int, planned: PlannedCorrection) -> Shard | None:
    """Write a shard with the corrections of its photos; return it, the old one if it has none, or None if it is empty."""
    changes = {photo.digest: photo.new_label for photo in planned.photos if photo.shard == number}
    if not changes:
        return shard
    verify(folder, shard)
    table = read_shard(folder, shard)
    digests = table["sha256"].to_pylist()
    labels = [changes.get(digest, label) for digest, label in zip(digests, table["label"].to_pylist(), strict=True)]
    position = table.schema.get_field_index("label")
    table = table.set_column(position, table.schema.field(position), pa.array(labels, pa.string()))
    table = table.filter(pc.is_valid(table["label"])).combine_chunks()
    if not table.num_rows:
        return None
    kept = set(table["sha256"].to_pylist())
    lists = (read_originals(folder, shard), read_groups(folder, shard))
    originals, groups = ({stored: each for stored, each in listed.items() if stored in kept} for listed in lists)
    return write_table(stage, int(shard.path.partition("-")[0]), table, originals, groups)
