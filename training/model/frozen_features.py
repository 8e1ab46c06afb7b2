"""A pretrained backbone as a function from pixels to embeddings, and a dataset's photos as its input."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from training.data.photo_rows import PhotoRow, read_rows, stream_files
from training.model.backbones.named import BACKBONES
from training.model.backbones.weights_packages import WEIGHTS
from training.model.embedding import BATCH, Embeddings
from training.model.preprocessing import Pixels, decode_photos

__all__ = ["DatasetPixels", "PretrainedExtractor"]


class PretrainedExtractor:
    """The mean of a backbone's features over each photo.

    Args:
        name: of `BACKBONES`.
        size: the height and width of its input, pixels; None: those that it was trained with.
    """

    def __init__(self, name: str, size: int | None = None) -> None:
        self._backbone = BACKBONES[name]
        self.name, self.size, self.digest = name, size or self._backbone.size, WEIGHTS[name].sha256

    def __call__(self, pixels: Pixels) -> Embeddings:
        """Return the embeddings (float32[n, C]) of pixels (uint8[n, size, size, 3]).

        Raises:
            MissingExtra: the package of the weights is not installed.
            IntegrityError: the file of weights is not the expected one.
        """
        found: Embeddings = self._network(tf.constant(pixels)).numpy()
        return found

    @functools.cached_property
    def _network(self) -> Any:
        """The network as a graph; made at the first call, which no call is that finds its embeddings in the cache."""
        image = keras.Input((self.size, self.size, 3), name="image")
        pooled = keras.layers.GlobalAveragePooling2D(name="mean")(self._backbone.features(image))
        model = keras.Model(image, pooled)
        self._backbone.load(model)
        spec = tf.TensorSpec([None, self.size, self.size, 3], tf.uint8)
        return tf.function(
            lambda pixels: model(tf.cast(pixels, tf.float32), training=False), input_signature=[spec], autograph=False
        )


class DatasetPixels:
    """The photos of a split, cut to the square in their middle by `training.model.preprocessing`.

    Args:
        folder: the dataset folder.
        split: ``train`` or ``test``.
        sources: only photos of these sources; empty: of all.

    Attributes:
        rows: N photos in the order of the shards.

    Raises:
        DataError: there is no such photo.
        IntegrityError: a shard is missing or damaged.
    """

    preprocessing = "crop"

    def __init__(self, folder: Path, split: str, sources: Sequence[str] = ()) -> None:
        self._folder, self._split, self._sources = folder, split, tuple(sources)
        self.rows: list[PhotoRow] = read_rows(folder, split, sources)

    @property
    def digests(self) -> list[str]:
        """SHA-256 (hex) of each photo."""
        return [row.digest for row in self.rows]

    def batches(self, size: int) -> Iterator[Any]:
        """Yield pixels, uint8[n, size, size, 3]."""
        for files in stream_files(self._folder, self._split, self._sources, BATCH):
            yield decode_photos(files, size, crop=True)
