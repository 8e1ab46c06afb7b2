"""The content of a dataset, read once: counts, sizes, repeated pictures, and a few photos of each class for people."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchard.errors import IntegrityError
from training import pages
from training.data.shards import Index, iterate, verify
from training.data.validation.near_duplicates import NearDuplicates, NearPhoto, PhotoPrints, thumbnail_pixels

__all__ = ["DatasetContent", "RepeatedPhoto", "damaged_shards", "read"]

SAMPLES = 2
THREADS = 2
THUMBNAIL = 56


@dataclass(frozen=True, slots=True)
class RepeatedPhoto:
    """A picture that is in the dataset twice.

    Attributes:
        first: ``split/class/file name`` of the first photo.
        second: of the second photo.
        across: whether one is in train and the other in test.
    """

    first: str
    second: str
    across: bool


@dataclass(slots=True)
class DatasetContent:
    """The content of a dataset.

    Attributes:
        counts: number of photos by (split, class, source).
        totals: the same by (split, class).
        sizes: number of photos by (width, height) in pixels.
        repeats: pictures that are in it twice.
        altered: ``split/class/file name`` of photos whose bytes have another SHA-256 than their row.
        samples: a few photos by (class, source), as data URIs.
        near: the near-copies; None: they were not looked for.
    """

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    totals: Counter[tuple[str, str]] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    repeats: list[RepeatedPhoto] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    samples: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    near: NearDuplicates | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source, sorted."""
        return tuple(sorted({source for _, _, source in self.counts}))

    def count(self, split: str, label: str, source: str | None = None) -> int:
        """The number of photos of a class in a split, of one source or of all."""
        return self.totals[split, label] if source is None else self.counts[split, label, source]


def damaged_shards(folder: Path, index: Index) -> dict[str, str]:
    """Return the error of each missing or damaged shard, by its name."""
    damaged = {}
    for shard in index.shards:
        try:
            verify(folder, shard)
        except IntegrityError as error:
            damaged[shard.path] = error.message
    return damaged


def read(folder: Path, *, near: bool = True) -> DatasetContent:
    """Read every row of a dataset with sound shards.

    Args:
        folder: the dataset folder.
        near: decode every photo too, and look for near-copies.

    Raises:
        IntegrityError: a shard cannot be read after all.
    """
    content, prints = DatasetContent(), PhotoPrints()
    seen: dict[str, tuple[str, str]] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in iterate(folder):
            images = batch["image"]
            names = images.field("path").to_pylist()
            bodies = images.field("bytes")
            rows = batch.drop_columns(["image"]).to_pylist()
            sound = [
                number
                for number, (row, name) in enumerate(zip(rows, names, strict=True))
                if _add_row(content, seen, row, name, bodies[number])
            ]
            if near:
                pixels = pool.map(lambda number, of=bodies: thumbnail_pixels(of[number].as_py()), sound)
                prints.add([_near_photo(rows[number], names[number]) for number in sound], list(pixels))
    content.near = prints.find() if near else None
    return content


def _near_photo(row: dict[str, Any], name: str) -> NearPhoto:
    return NearPhoto(row["sha256"], name, row["split"], row["label"], row["source"])


def _add_row(
    content: DatasetContent, seen: dict[str, tuple[str, str]], row: dict[str, Any], name: str, body: Any
) -> bool:
    """Count a photo; return whether its bytes are those of its row."""
    split, label, source = row["split"], row["label"], row["source"]
    place = f"{split}/{label}/{name}"
    content.counts[split, label, source] += 1
    content.totals[split, label] += 1
    content.sizes[row["width"], row["height"]] += 1
    if row["pixels_sha256"] in seen:
        first_split, first = seen[row["pixels_sha256"]]
        content.repeats.append(RepeatedPhoto(first, place, first_split != split))
    else:
        seen[row["pixels_sha256"]] = (split, place)
    buffer = body.as_buffer()
    if hashlib.sha256(buffer).hexdigest() != row["sha256"]:
        content.altered.append(place)
        return False
    if len(content.samples[label, source]) < SAMPLES:
        content.samples[label, source].append(pages.thumbnail(buffer.to_pybytes(), THUMBNAIL, crop=True))
    return True
