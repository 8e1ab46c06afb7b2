"""How many photos of each class, split and source the versions of a dataset have.

A version's document counts classes and splits. The sources are in the shards, whose columns are read where the shards are
on this machine: in the dataset's folder or in DVC's cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchard.dataset import DatasetVersion
from orchard.documents import canonical_json
from training.data.dvc_tracking import cache_of
from training.data.shards import SPLITS, Shard, parse_index, read_columns

__all__ = ["VersionCounts", "count_versions"]

Counts = Counter[tuple[str, str, str]]
"""Photos by split, class and source."""

Totals = Counter[tuple[str | None, str | None, str]]
"""The same with their sums: None stands for all splits or all classes."""


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """The photos of a version.

    Attributes:
        version: the version.
        classes: photos by split and class.
        sources: photos by split, class and source; None: a shard is not on this machine.
        totals: the sums of `sources`.
    """

    version: DatasetVersion
    classes: dict[str, dict[str, int]]
    sources: Counts | None
    totals: Totals

    def count(self, split: str | None = None, label: str | None = None, source: str | None = None) -> int | None:
        """The number of photos, of all splits, classes or sources where one is None; None: it is not known."""
        if source is None:
            splits = SPLITS if split is None else (split,)
            labels = self.classes[SPLITS[0]] if label is None else [label]
            return sum(self.classes[each].get(name, 0) for each in splits for name in labels)
        if self.sources is None:
            return None
        return self.totals[split, label, source]


def count_versions(versions: Iterable[DatasetVersion], folder: Path) -> list[VersionCounts]:
    """Count the photos of versions of one dataset.

    Args:
        versions: the versions.
        folder: the dataset's folder, ``data/<name>``; it need not exist.

    Raises:
        IntegrityError: a version's index is malformed, or a shard cannot be read.
    """
    known: dict[str, Counts | None] = {}
    counted = []
    for version in versions:
        index = parse_index(canonical_json(version.index), f"version {version.version} of {version.name!r}")
        for shard in index.shards:
            if shard.sha256 not in known:
                known[shard.sha256] = _count_shard(shard, folder)
        total = _add([known[shard.sha256] for shard in index.shards])
        counted.append(VersionCounts(version, index.counts, total, _sum(total or Counter())))
    return counted


def _add(parts: Iterable[Counts | None]) -> Counts | None:
    total: Counts = Counter()
    for part in parts:
        if part is None:
            return None
        total.update(part)
    return total


def _sum(counts: Counts) -> Totals:
    totals: Totals = Counter()
    for (split, label, source), number in counts.items():
        for key in ((split, label, source), (split, None, source), (None, label, source), (None, None, source)):
            totals[key] += number
    return totals


def _count_shard(shard: Shard, folder: Path) -> Counts | None:
    for path in (folder / shard.path, cache_of(folder)(shard.md5)):
        if path.is_file() and path.stat().st_size == shard.bytes:
            table = read_columns(path, ("split", "label", "source"))
            return Counter(zip(*(table[name].to_pylist() for name in ("split", "label", "source")), strict=True))
    return None
