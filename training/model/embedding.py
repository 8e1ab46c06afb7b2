"""Embeddings: what a backbone sees in each photo, as one vector, kept on disk because they take a while to compute.

An embedding is the mean of the backbone's features over the photo. Everything that learns from frozen features reads
them here: the linear probe, the groups of the cross-validation, the search for wrong labels. A file of the cache has
the digest of all that decides its content in its name. So it is never out of date, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orchard import documents
from orchard.disk import writing_to
from orchard.errors import IntegrityError
from orchard.files import atomic_file
from orchard.reporter import Reporter

__all__ = ["CACHE", "Embeddings", "FeatureExtractor", "PixelSource", "embed"]

CACHE = Path(".orchard") / "embeddings"
"""The folder of the cache, in the workspace."""

KEEP_BYTES = 4_000_000_000
"""The cache's size. After a write, the files that were not read for the longest time are deleted down to it."""

BATCH = 32
"""Photos that go through the network at a time, which bounds its memory; larger batches are not faster on a CPU."""

FORMAT = 1

Embeddings = npt.NDArray[np.float32]
"""float32[N, C]."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, TypeError, KeyError, EOFError, OSError, NotImplementedError)
"""What NumPy raises when it reads a file of the cache that is damaged."""


class FeatureExtractor(Protocol):
    """A backbone with its weights, as `embed` calls it.

    Attributes:
        name: of the backbone, for people and file names.
        digest: SHA-256 (hex) of the weights.
        size: the height and width of its input, pixels.
    """

    name: str
    digest: str
    size: int

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Embeddings:
        """Return the embeddings (float32[n, C]) of pixels (uint8[n, size, size, 3])."""
        ...


class PixelSource(Protocol):
    """Photos as pixels, in batches of any size.

    Attributes:
        digests: one text for each photo, in the order of the batches, which identifies its bytes.
        preprocessing: how the pixels are made from the bytes, such as ``"crop"``; with a seed if it draws numbers.
            Another text is another file of the cache.
    """

    @property
    def digests(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def preprocessing(self) -> str: ...  # noqa: D102

    def batches(self, size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield pixels, uint8[n, size, size, 3]; N in all."""
        ...


@dataclass(frozen=True, slots=True)
class _CacheFile:
    """The place of some embeddings on disk."""

    path: Path
    key: str
    photos: int

    def read(self, reporter: Reporter) -> Embeddings | None:
        """Return the embeddings; None if there are none, or only damaged ones."""
        if not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                key, found = str(content["key"]), content["embeddings"]
            if key != self.key or found.dtype != np.float32 or found.ndim != 2 or len(found) != self.photos:
                raise ValueError(f"it holds {found.dtype}{list(found.shape)}")
        except _DAMAGED as error:
            reporter.note(f"{self.path} is damaged ({error}): it is computed again")
            return None
        with suppress(OSError):  # a folder that cannot be written: then the file's age does not matter either
            os.utime(self.path)
        return found  # type: ignore[no-any-return]  # NumPy does not know what a file holds

    def write(self, found: Embeddings) -> None:
        """Keep the embeddings, and delete old files."""
        folder = self.path.parent
        with writing_to(folder, "embeddings are kept there so that they are computed once"):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.path) as file:
                np.savez(file, key=np.array(self.key), embeddings=found)
        ages = sorted(((path.stat().st_mtime_ns, path) for path in folder.glob("*.npz")), reverse=True)
        sizes = itertools.accumulate(path.stat().st_size for _, path in ages)
        for (_, path), size in zip(ages, sizes, strict=True):
            if size > KEEP_BYTES and path != self.path:
                path.unlink(missing_ok=True)


def embed(
    extractor: FeatureExtractor, photos: PixelSource, reporter: Reporter, *, cache: Path | None = CACHE
) -> Embeddings:
    """Compute the embeddings of photos, or read them from the cache.

    Args:
        extractor: the backbone.
        photos: any source of pixels: a dataset's photos, or varied copies of them.
        reporter: reports progress.
        cache: the folder of the cache; None: nothing is read or kept.

    Returns:
        float32[N, C], in the order of the photos.

    Raises:
        DiskError: the cache cannot be written.
        IntegrityError: the source has another number of photos than digests, or the network returned values that are
            not finite.
    """
    key = documents.digest(
        {
            "format": FORMAT,
            "weights": extractor.digest,
            "size": extractor.size,
            "preprocessing": photos.preprocessing,
            "photos": hashlib.sha256("\n".join(photos.digests).encode()).hexdigest(),
        }
    )
    name = f"{extractor.name}-{extractor.size}-{key[:16]}.npz"
    kept = None if cache is None else _CacheFile(cache / name, key, len(photos.digests))
    found = None if kept is None else kept.read(reporter)
    if found is None:
        found = _compute(extractor, photos, reporter)
        if kept is not None:
            kept.write(found)
    return found


def _compute(extractor: FeatureExtractor, photos: PixelSource, reporter: Reporter) -> Embeddings:
    count = len(photos.digests)
    text = f"embedding {count} photos with {extractor.name} at {extractor.size} pixels"
    parts = list(reporter.track(_parts(extractor, photos), text, total=-(-count // BATCH)))
    found = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
    if len(found) != count:
        raise IntegrityError(f"{len(found)} photos were read, expected {count}: the dataset changed meanwhile")
    if not np.isfinite(found).all():
        raise IntegrityError(
            f"the backbone {extractor.name} returned values that are not finite",
            hint="its weights or its input are invalid: install its package again",
        )
    return found


def _parts(extractor: FeatureExtractor, photos: PixelSource) -> Iterator[Any]:
    """Yield the embeddings of `BATCH` photos at a time, whatever the batches of the source are."""
    left: npt.NDArray[np.uint8] | None = None
    for batch in photos.batches(extractor.size):
        pending = batch if left is None else np.concatenate([left, batch])
        whole = len(pending) - len(pending) % BATCH
        for start in range(0, whole, BATCH):
            yield np.asarray(extractor(pending[start : start + BATCH]), np.float32)
        left = pending[whole:]
    if left is not None and len(left):
        yield np.asarray(extractor(left), np.float32)
