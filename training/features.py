"""A photo's bytes to what the model looks at: the one preprocessing for training, batch, online and gate.

1. **Decode** JPEG or PNG to RGB, to the same pixels as Pillow: TensorFlow's `decode_jpeg` reads PNG too and, unlike
   `decode_image`, can be told to use libjpeg's accurate inverse DCT, which is Pillow's. Transparency is dropped, grey
   and CMYK become RGB. Orientation in EXIF is not looked at: what lies on its side in the file does so here.
2. **Resize** to a square by the mean over the area that each new pixel covers. The whole photo stays visible: what is
   not square is stretched, in training as in serving, and nothing is cut off.
3. **Round** to whole levels 0 to 255, half up, so that training can keep millions of pixels as bytes and still sees
   exactly what the served model sees.

Scaling to the range that a network likes belongs to the network (`training.model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import tensorflow as tf

__all__ = ["EXACT", "Pixels", "decode_photos", "preprocess", "shrink"]

Pixels = npt.NDArray[np.uint8]

EXACT = (1, 2, 4)
"""Ratios at which the mean over an area is exact in floating point, so that every way to compute it rounds alike."""


def preprocess(image_bytes: Any, size: int) -> Any:
    """Bring photos to pixels, in a TensorFlow graph.

    Args:
        image_bytes: string tensor [N], JPEG or PNG files.
        size: pixels a side.

    Returns:
        float32 tensor [N, size, size, 3], whole numbers 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: when run, if one of them is no image or is cut off.
    """
    form = tf.TensorSpec([size, size, 3], tf.float32)
    with tf.name_scope("preprocess"):
        return tf.map_fn(lambda photo: _resize(_decode(photo), size), image_bytes, fn_output_signature=form)


def _decode(photo: Any) -> Any:
    pixels = tf.io.decode_jpeg(photo, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(pixels, [None, None, 3])  # WebP would come as [1, h, w, 3]


def _resize(pixels: Any, size: int) -> Any:
    levels = tf.image.resize(pixels[tf.newaxis], [size, size], method="area")[0]
    return tf.floor(levels + 0.5)


def decode_photos(photos: Sequence[bytes], size: int) -> Pixels:
    """Bring photos to pixels as `preprocess` does, to the last bit, several times as fast where it can be.

    JPEG files of one size that is 1, 2 or 4 times `size`, as turntable photos are, go through libjpeg-turbo without
    TensorFlow and are shrunk together; everything else takes `preprocess` itself. A few hundred photos at a time stay
    in the processor's cache.

    Args:
        photos: N files, JPEG or PNG.
        size: pixels a side.

    Returns:
        uint8[N, size, size, 3].

    Raises:
        tf.errors.InvalidArgumentError: one of them is no image or is cut off.
    """
    result = np.empty((len(photos), size, size, 3), np.uint8)
    alike: dict[int, list[int]] = {ratio: [] for ratio in EXACT}
    rest = []
    decoded = {}
    for position, photo in enumerate(photos):
        pixels = _decode_quickly(photo, size)
        if pixels is None:
            rest.append(position)
        else:
            decoded[position] = pixels
            alike[len(pixels) // size].append(position)
    for ratio, positions in alike.items():
        if positions:
            result[positions] = shrink(np.stack([decoded[position] for position in positions]), ratio)
    if rest:
        result[rest] = _graph(size)([photos[position] for position in rest]).numpy()
    return result


def _decode_quickly(photo: bytes, size: int) -> Pixels | None:
    try:
        height, width, colours = simplejpeg.decode_jpeg_header(photo)[:3]
        if height != width or height % size or height // size not in EXACT or colours not in ("YCbCr", "Gray"):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(photo)
    except ValueError:  # PNG or damaged: TensorFlow decodes the one and says what is wrong with the other
        return None
    return pixels


def shrink(pixels: Pixels, ratio: int) -> Pixels:
    """Resize by a whole ratio; equal to steps 2 and 3 of `preprocess`.

    Args:
        pixels: uint8[N, ratio × size, ratio × size, 3].
        ratio: one of `EXACT`.

    Returns:
        uint8[N, size, size, 3].
    """
    n, size, area = len(pixels), pixels.shape[1] // ratio, ratio * ratio
    lines = pixels.reshape(n, size, ratio, size * ratio * 3)
    columns = lines[:, :, 0].astype(np.uint16)
    for line in range(1, ratio):
        columns += lines[:, :, line]
    columns = columns.reshape(n * size * size, ratio * 3)
    squares = np.full((n * size * size, 3), area // 2, np.uint16)
    for value in range(ratio * 3):  # a few long strided sums are far faster than NumPy's sum over a short last axis
        squares[:, value % 3] += columns[:, value]
    return (squares // area).astype(np.uint8).reshape(n, size, size, 3)


@lru_cache(maxsize=4)
def _graph(size: int) -> Any:
    def preprocess_to_bytes(photos: Any) -> Any:
        return tf.cast(preprocess(photos, size), tf.uint8)

    return tf.function(preprocess_to_bytes, input_signature=[tf.TensorSpec([None], tf.string)])
