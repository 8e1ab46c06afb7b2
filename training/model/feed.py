"""The training photos in batches, in a new order in every epoch, some sources more often than others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.model.encoded_pixels import EncodedPixels
from training.model.in_memory import InMemoryPhotos

__all__ = ["BatchIterator"]


class BatchIterator:
    """Photos in memory, in batches, in a new order in every epoch.

    NumPy, not TensorFlow, gathers a batch: it is a few times as fast on one core, and memory has the photos only once.

    Args:
        photos: all photos.
        batch_size: maximum number of photos in a batch.
        seed: of the orders.
        repeat: by source, how often an epoch has each photo; default 1. Of 0.25, every epoch has another quarter of the
            photos, chosen at random; of 2.5, every photo twice and another half once more.
    """

    def __init__(
        self, photos: InMemoryPhotos, batch_size: int, seed: int, repeat: Mapping[str, float] | None = None
    ) -> None:
        times = np.array([(repeat or {}).get(source, 1) for source in photos.sources], float)
        self._positions = np.repeat(np.arange(len(photos), dtype=np.int32), times.astype(int))
        self._rest = {
            share: np.flatnonzero(times % 1 == share).astype(np.int32) for share in np.unique(times % 1) if share
        }
        count = len(self._positions) + sum(_part(share, rest) for share, rest in self._rest.items())
        self.steps = math.ceil(count / batch_size)
        self._seed = seed
        self._pixels, self._labels = photos.pixels, photos.labels
        self._buffer = np.empty((0, 0, 0, 0), np.uint8)
        if isinstance(self._pixels, np.ndarray):
            self._buffer = np.empty((math.ceil(count / self.steps), *photos.pixels.shape[1:]), np.uint8)

    def batches(self, epoch: int) -> list[npt.NDArray[np.int32]]:
        """The order of an epoch: positions of the photos, in batches of nearly equal size. Epochs count from 0."""
        random = np.random.default_rng([self._seed, epoch])
        extra = [random.permutation(rest)[: _part(share, rest)] for share, rest in self._rest.items()]
        return np.array_split(random.permutation(np.concatenate([self._positions, *extra])), self.steps)

    def take(self, positions: npt.NDArray[np.int32], size: int | None = None) -> tuple[Any, Any]:
        """Return the photos at positions (int32[N], N at most a batch): pixels, uint8[N, S, S, 3], and labels, int32[N].

        Photos that are kept encoded have the size S that is asked for.
        """
        if isinstance(self._pixels, EncodedPixels):
            pixels = (self._pixels.at(size) if size else self._pixels)[positions]
        else:
            pixels = self._buffer[: len(positions)]
            np.take(self._pixels, positions, axis=0, out=pixels, mode="clip")  # any other mode makes a copy first
        return tf.constant(pixels), tf.constant(self._labels[positions])


def _part(share: float, positions: npt.NDArray[np.int32]) -> int:
    """How many of the photos are a share of them: at least one."""
    return max(1, round(share * len(positions)))
