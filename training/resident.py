"""A dataset's photos in memory: decoded once, kept as bytes, 7.5 kB each at 50 pixels.

Decoding 18,000 photos takes a second or two on two cores, and every epoch after that costs one gather per batch. No
tf.data: its autotuner can stall for seconds when an epoch ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from orchard.errors import DataError
from training.features import Pixels, decode_photos
from training.shards import Index, iterate

__all__ = ["Photos", "read_photos"]

ROWS = 256
"""Photos decoded at a time by a thread: their pixels stay in the processor's cache."""

THREADS = 2
COLUMNS = ("image", "label", "source", "sha256")


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos of one split, in the order of their SHA-256, so that the order of shards and rows never matters.

    Attributes:
        pixels: uint8[N, size, size, 3].
        labels: int32[N], index into the dataset's classes.
        paths: N file names.
        sources: N names of where they come from.
        digests: N SHA-256 (hex) of the files.
    """

    pixels: Pixels
    labels: npt.NDArray[np.int32]
    paths: tuple[str, ...]
    sources: tuple[str, ...]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Photos:
        """Return the photos where `chosen` (bool[N]) is true."""
        positions = np.flatnonzero(chosen)
        return Photos(
            self.pixels[positions],
            self.labels[positions],
            tuple(self.paths[position] for position in positions),
            tuple(self.sources[position] for position in positions),
            tuple(self.digests[position] for position in positions),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    pixels: Pixels
    rows: list[dict[str, Any]]


def read_photos(folder: Path, index: Index, split: str, size: int) -> Photos:
    """Read and decode the photos of a split.

    Args:
        folder: the dataset folder.
        index: its index.
        split: ``train`` or ``test``.
        size: pixels a side.

    Raises:
        DataError: there are none, or one of them cannot be decoded.
        IntegrityError: a shard is missing or damaged.
    """
    parts = list(_decode_all(folder, split, size))
    rows = [row for part in parts for row in part.rows]
    if not rows:
        raise DataError(
            f"{folder} has no photos in its {split} split", hint=f"`orchard ingest` a folder with a split named {split}"
        )
    order = sorted(range(len(rows)), key=lambda position: (rows[position]["sha256"], rows[position]["label"]))
    columns = {label: column for column, label in enumerate(index.classes)}
    ordered = [rows[position] for position in order]
    return Photos(
        _gather(parts, order, size),
        np.array([columns[row["label"]] for row in ordered], np.int32),
        tuple(row["path"] or "" for row in ordered),
        tuple(row["source"] for row in ordered),
        tuple(row["sha256"] for row in ordered),
    )


def _gather(parts: list[_Part], order: list[int], size: int) -> Pixels:
    """Put the pixels in order and let go of each part as soon as it is copied, so that they are in memory twice never."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    pixels = np.empty((len(order), size, size, 3), np.uint8)
    start = 0
    for position, part in enumerate(parts):
        stop = start + len(part.rows)
        pixels[place[start:stop]] = part.pixels
        parts[position] = _Part(np.empty((0, size, size, 3), np.uint8), [])
        start = stop
    return pixels


def _decode_all(folder: Path, split: str, size: int) -> Iterator[_Part]:
    """Decode on threads, a few batches ahead of what is read, in order."""
    batches = iterate(folder, columns=COLUMNS, splits=[split], check=True, rows=ROWS)
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: list[Future[_Part]] = []
        while True:
            waiting += [pool.submit(_decode, batch, size) for batch in islice(batches, 2 * THREADS - len(waiting))]
            if not waiting:
                return
            yield waiting.pop(0).result()


def _decode(batch: pa.RecordBatch, size: int) -> _Part:
    image = batch["image"]
    files = image.field("bytes").to_pylist()
    names = image.field("path").to_pylist()
    rest = batch.drop_columns(["image"]).to_pylist()
    rows = [{**row, "path": name} for row, name in zip(rest, names, strict=True)]
    try:
        return _Part(decode_photos(files, size), rows)
    except tf.errors.InvalidArgumentError:
        raise _name_damaged(files, rows, size) from None


def _name_damaged(files: list[bytes], rows: list[dict[str, Any]], size: int) -> DataError:
    """Find the photo that cannot be decoded, for the message."""
    for file, row in zip(files, rows, strict=True):
        try:
            decode_photos([file], size)
        except tf.errors.InvalidArgumentError as error:
            return DataError(
                f"the photo {row['path']} of {row['label']!r} (SHA-256 {row['sha256'][:12]}…) cannot be decoded: "
                f"{_first_cause(error.message)}",
                hint="`orchard ingest` refuses such photos: ingest its source again, or `orchard pull`",
            )
    return DataError("photos failed to decode together but not one by one", hint="run it again")


def _first_cause(message: str) -> str:
    """The line of TensorFlow's message that says what is wrong; before it stands where, after it which node."""
    lines = [line.strip() for line in message.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("[[")), message)[:160]
