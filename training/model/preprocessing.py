"""A photo's bytes to the model's input: the same preprocessing for training, batch prediction, serving and gate.

1. **Decode** JPEG or PNG to RGB, to the same pixels as Pillow: TensorFlow's `decode_jpeg` reads PNG too and, unlike
   `decode_image`, has an option for libjpeg's accurate inverse DCT, which Pillow uses. A JPEG of at least 2, 4 or 8
   times the size is decoded at a half, a quarter or an eighth, as Pillow's draft mode does: a phone's photo of 12
   megapixels takes a sixth of the time. Transparency is dropped, grey and CMYK become RGB. The EXIF orientation is
   ignored.
2. **Resize** to a square by the mean over the area that each new pixel covers. Nothing is cut off: a photo that is
   not square is stretched, in training and in serving.
3. **Round** to whole levels 0 to 255, half up, so that training can keep millions of pixels as bytes and still has
   exactly the input of the served model.

The network scales pixels to the range that it needs (`training.model.architectures`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import tensorflow as tf

__all__ = ["Pixels", "decode_into", "decode_photos", "preprocess"]

Pixels = npt.NDArray[np.uint8]

RATIOS = (1, 2, 4, 8)
"""The ratios by which libjpeg can shrink a photo while it decodes."""

JPEG = b"\xff\xd8\xff"
"""The first bytes of every JPEG file."""


def preprocess(image_bytes: Any, size: int) -> Any:
    """Convert photos to pixels, in a TensorFlow graph.

    Args:
        image_bytes: string tensor [N], JPEG or PNG files.
        size: pixels a side.

    Returns:
        float32 tensor [N, size, size, 3], whole numbers 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: when run, if one is not an image or is truncated.
    """
    form = tf.TensorSpec([size, size, 3], tf.float32)

    def to_pixels(photo: Any) -> Any:
        return _resize(_decode(photo, size)[tf.newaxis], size)[0]

    with tf.name_scope("preprocess"):
        return tf.map_fn(to_pixels, image_bytes, fn_output_signature=form)


def _decode(photo: Any, size: int) -> Any:
    def at(ratio: int) -> Any:
        pixels = tf.io.decode_jpeg(photo, channels=3, dct_method="INTEGER_ACCURATE", ratio=ratio)
        return tf.ensure_shape(pixels, [None, None, 3])  # WebP would come as [1, h, w, 3]

    def choose() -> Any:
        times = tf.reduce_min(tf.image.extract_jpeg_shape(photo)[:2]) // size
        return tf.add_n([tf.cast(times >= ratio, tf.int32) for ratio in RATIOS[1:]])

    is_jpeg = tf.equal(tf.strings.substr(photo, 0, len(JPEG)), JPEG)
    which = tf.cond(is_jpeg, choose, lambda: 0)
    return tf.switch_case(which, [lambda ratio=ratio: at(ratio) for ratio in RATIOS])


def _resize(pixels: Any, size: int) -> Any:
    levels = tf.image.resize(pixels, [size, size], method="area")
    return tf.floor(levels + 0.5)


def decode_photos(photos: Sequence[bytes], size: int) -> Pixels:
    """Convert photos to pixels as `preprocess` does, bit for bit, a few times as fast.

    Args:
        photos: N files, JPEG or PNG.
        size: pixels a side.

    Returns:
        uint8[N, size, size, 3].

    Raises:
        tf.errors.InvalidArgumentError: one is not an image or is truncated.
    """
    pixels = np.empty((len(photos), size, size, 3), np.uint8)
    decode_into(pixels, range(len(photos)), photos)
    return pixels


def decode_into(pixels: Pixels, places: Sequence[int], photos: Sequence[bytes]) -> None:
    """Convert photos to pixels as `decode_photos` does, each at its place in an array.

    libjpeg-turbo decodes JPEG files without TensorFlow, so other threads can run meanwhile. Photos of one shape are
    resized together, if they need it. All other files go through `preprocess`.

    Args:
        pixels: uint8[M, size, size, 3]; written only at `places`.
        places: N positions.
        photos: N files, JPEG or PNG.

    Raises:
        tf.errors.InvalidArgumentError: one is not an image or is truncated; `pixels` is then invalid.
    """
    size = pixels.shape[1]
    by_shape: dict[tuple[int, ...], list[tuple[int, Pixels]]] = defaultdict(list)
    rest: list[tuple[int, bytes]] = []
    for place, photo in zip(places, photos, strict=True):
        decoded = _decode_jpeg(photo, size, pixels[place])
        if decoded is None:
            rest.append((place, photo))
        elif decoded.shape != (size, size, 3):
            by_shape[decoded.shape].append((place, decoded))
    full, resize = _graphs(size)
    for group in by_shape.values():
        pixels[[place for place, _ in group]] = resize(np.stack([decoded for _, decoded in group])).numpy()
    if rest:
        pixels[[place for place, _ in rest]] = full([photo for _, photo in rest]).numpy()


def _decode_jpeg(photo: bytes, size: int, place: Pixels) -> Pixels | None:
    """Decode a JPEG at the ratio that `preprocess` chooses, in place if it fits; None: TensorFlow has to decode it."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(photo)
        if colours not in ("YCbCr", "Gray"):
            return None
        least, fits = _scaled(height, width, size)
        pixels: Pixels = simplejpeg.decode_jpeg(
            photo, min_height=least[0], min_width=least[1], buffer=place if fits else None
        )
    except ValueError:  # PNG or damaged: TensorFlow decodes it, or raises with the cause
        return None
    return pixels


@lru_cache(maxsize=1024)
def _scaled(height: int, width: int, size: int) -> tuple[tuple[int, int], bool]:
    """Height and width of a photo at the ratio that `preprocess` chooses, and whether that is the final size."""
    ratio = max([ratio for ratio in RATIOS if min(height, width) // size >= ratio], default=1)
    scaled = -(-height // ratio), -(-width // ratio)
    return scaled, scaled == (size, size)


@lru_cache(maxsize=4)
def _graphs(size: int) -> tuple[Any, Any]:
    """`preprocess`, and its last two steps for decoded photos of one shape, as functions to uint8."""

    def to_bytes(levels: Any) -> Any:
        return tf.cast(levels, tf.uint8)

    return (
        tf.function(
            lambda photos: to_bytes(preprocess(photos, size)), input_signature=[tf.TensorSpec([None], tf.string)]
        ),
        tf.function(
            lambda pixels: to_bytes(_resize(pixels, size)),
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
        ),
    )
