"""A dataset's photos in memory: decoded once and kept as bytes where they fit, encoded otherwise.

Decoding 18,000 photos at 50 pixels takes a second or two on two cores, and every epoch after that costs one gather per
batch. At 224 pixels the same photos would take 2.7 GB: they stay encoded, and a batch decodes its own, which takes a
fiftieth of what a network of that size needs. tf.data is not used: its autotuner can stall for seconds at the end of an
epoch.
"""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from orchard.errors import DataError
from training.data.photo_rows import PhotoRow, read_rows
from training.data.shards import Index, iterate
from training.model.encoded_pixels import EncodedPixels
from training.model.preprocessing import Pixels, decode_into, decode_photos
from training.params import Params

__all__ = ["InMemoryPhotos", "read_photos", "read_training_photos"]

ROWS = 512
"""Photos that a thread decodes at a time: enough to make the other costs of a batch negligible."""

THREADS = 2

MOST_DECODED = 1 << 29
"""Bytes of pixels that are kept decoded; a set that needs more stays encoded."""


@dataclass(frozen=True, slots=True)
class InMemoryPhotos:
    """Photos of one split, in the order of their SHA-256, so that the order of shards and rows does not matter.

    Attributes:
        pixels: uint8[N, size, size, 3], or the same decoded on demand.
        labels: int32[N], index into the dataset's classes.
        paths: N file names.
        sources: N names of sources.
        digests: N SHA-256 (hex) of the files.
        groups: N groups that a label file gave, empty where there is none; or none for all.
    """

    pixels: Pixels | EncodedPixels
    labels: npt.NDArray[np.int32]
    paths: tuple[str, ...]
    sources: tuple[str, ...]
    digests: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: npt.NDArray[np.bool_]) -> InMemoryPhotos:
        """Return the photos where `chosen` (bool[N]) is true."""
        positions = np.flatnonzero(chosen)
        return InMemoryPhotos(
            self.pixels.select(positions) if isinstance(self.pixels, EncodedPixels) else self.pixels[positions],
            self.labels[positions],
            tuple(self.paths[position] for position in positions),
            tuple(self.sources[position] for position in positions),
            tuple(self.digests[position] for position in positions),
            tuple(self.groups[position] for position in positions) if self.groups else (),
        )


def read_photos(
    folder: Path, index: Index, split: str, size: int, *, crop: bool = False, encoded: bool = False
) -> InMemoryPhotos:
    """Read and decode the photos of a split, on two threads.

    Args:
        folder: the dataset folder.
        index: its index.
        split: ``train`` or ``test``.
        size: height and width of the result, pixels.
        crop: cut photos to the square in their middle; they are stretched otherwise.
        encoded: keep them encoded, so that they can be decoded at other sizes too. More than `MOST_DECODED` always are.

    Raises:
        DataError: there are no photos, or one cannot be decoded.
        IntegrityError: a shard is missing or damaged.
    """
    rows = read_rows(folder, split)
    order = sorted(range(len(rows)), key=lambda position: (rows[position].digest, rows[position].label))
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    columns = {label: column for column, label in enumerate(index.classes)}
    ordered = [rows[position] for position in order]
    encoded = encoded or len(rows) * size * size * 3 > MOST_DECODED
    reader = _read_encoded if encoded else _decode_all
    return InMemoryPhotos(
        reader(folder, split, rows, places, size, crop),
        np.array([columns[row.label] for row in ordered], np.int32),
        tuple(row.path for row in ordered),
        tuple(row.source for row in ordered),
        tuple(row.digest for row in ordered),
        tuple(row.group for row in ordered),
    )


def read_training_photos(folder: Path, index: Index, params: Params) -> InMemoryPhotos:
    """Read the training photos as the params have them; see `read_photos`."""
    model = params.model
    several = len({model.image_size, *params.train.sizes}) > 1
    return read_photos(folder, index, "train", model.image_size, crop=model.crop, encoded=several)


def _read_encoded(
    folder: Path, split: str, rows: list[PhotoRow], places: npt.NDArray[np.int64], size: int, crop: bool
) -> EncodedPixels:
    """Read every photo's file to its place."""
    files = [b""] * len(rows)
    start = 0
    for batch in iterate(folder, columns=("image.bytes",), splits=[split], rows=ROWS):
        for image in batch["image"].field("bytes").to_pylist():
            files[places[start]] = image
            start += 1
    return EncodedPixels(files, size, crop=crop)


def _decode_all(
    folder: Path, split: str, rows: list[PhotoRow], places: npt.NDArray[np.int64], size: int, crop: bool
) -> Pixels:
    """Decode every photo to its place, with a few batches in the queue."""
    pixels = np.empty((len(rows), size, size, 3), np.uint8)

    def decode(files: list[bytes], start: int) -> None:
        try:
            decode_into(pixels, places[start : start + len(files)].tolist(), files, crop=crop)
        except tf.errors.InvalidArgumentError:
            raise _find_damaged(files, rows[start : start + len(files)], size) from None

    with ThreadPoolExecutor(THREADS) as pool:
        pending: list[Future[None]] = []
        start = 0
        for batch in iterate(folder, columns=("image.bytes",), splits=[split], rows=ROWS):
            files = batch["image"].field("bytes").to_pylist()
            pending.append(pool.submit(decode, files, start))
            start += len(files)
            if len(pending) > 2 * THREADS:
                pending.pop(0).result()
        for future in pending:
            future.result()
    return pixels


def _find_damaged(files: list[bytes], rows: list[PhotoRow], size: int) -> DataError:
    """Find the photo that cannot be decoded, for the message."""
    for file, row in zip(files, rows, strict=True):
        try:
            decode_photos([file], size)
        except tf.errors.InvalidArgumentError as error:
            return DataError(
                f"the photo {row.path} of {row.label!r} (SHA-256 {row.digest[:12]}…) cannot be decoded: "
                f"{_first_cause(error.message)}",
                hint="`orchard ingest` refuses such photos: ingest its source again, or `orchard pull`",
            )
    return DataError("photos failed to decode together but not one by one", hint="run the command again")


def _first_cause(message: str) -> str:
    """The line of TensorFlow's message with the cause; the lines before it name the place, those after it the node."""
    lines = [re.sub(r"\{\{.*?\}\}", "", line).strip() for line in message.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("[[")), message)[:160]
