"""Photos that stay encoded in memory and are decoded when a batch needs them: 150 kB each at 224 pixels are not kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from training.model.preprocessing import Pixels, decode_into

__all__ = ["EncodedPixels"]

THREADS = 2
SMALL = 8
"""Photos that one thread decodes as quickly as two."""


class EncodedPixels:
    """The pixels of N photos, decoded on demand; it is indexed by positions as an array is.

    Args:
        files: N files, JPEG or PNG, each of which can be decoded.
        size: pixels a side.
        crop: cut photos to the square in their middle.
    """

    def __init__(self, files: Sequence[bytes], size: int, *, crop: bool) -> None:
        self._files = files
        self._size = size
        self._crop = crop

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, height, width and channels."""
        return len(self._files), self._size, self._size, 3

    def __getitem__(self, positions: npt.NDArray[np.integer]) -> Pixels:
        """Decode the photos at positions (int[M]): uint8[M, size, size, 3]."""
        pixels = np.empty((len(positions), *self.shape[1:]), np.uint8)
        parts = np.array_split(np.arange(len(positions)), THREADS if len(positions) > SMALL else 1)

        def decode(places: npt.NDArray[np.integer]) -> None:
            decode_into(pixels, places.tolist(), [self._files[positions[place]] for place in places], crop=self._crop)

        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(decode, part) for part in parts]:
                done.result()
        return pixels

    def select(self, positions: Iterable[int]) -> EncodedPixels:
        """The photos at positions, still encoded."""
        return EncodedPixels([self._files[position] for position in positions], self._size, crop=self._crop)

    def at(self, size: int) -> EncodedPixels:
        """The same photos at another size."""
        return EncodedPixels(self._files, size, crop=self._crop)
