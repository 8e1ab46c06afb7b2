"""A photo's bytes to the model's input: the same preprocessing for training, batch prediction, serving and gate.

1. **Decode** JPEG or PNG to RGB, to the same pixels as Pillow, with libjpeg's accurate inverse DCT. A JPEG of at least
   2, 4 or 8 times the size is decoded at a half, a quarter or an eighth, as Pillow's draft mode does: a phone's photo of
   12 megapixels takes a sixth of the time. Transparency is put on white, grey and CMYK become RGB, of 16 bits the upper
   8 count, and colour profiles are ignored.
2. **Turn** upright, as Exif says (`orchard.orientation`).
3. **Resize** to a square by the mean over the area that each new pixel covers. A photo that is not square is either
   stretched, so that nothing is cut off, or cut to the square in its middle, so that things keep their proportions
   (``model.resize`` in params.yaml); the same in training and in serving.
4. **Round** to whole levels 0 to 255, half up, so that training can keep millions of pixels as bytes and still has
   exactly the input of the served model.

The graph refuses every other format: only ingest, batch prediction and `orchard predict` convert them, and photos with
a colour profile other than sRGB. It refuses sizes
too, before it decodes, if it was exported with a schema's rules.

The network scales pixels to the range that it needs (`training.model.architectures`).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from orchard.orientation import HEAD, JPEG, PNG, UPRIGHT, read_orientation, turn
from training.data.schema import SchemaRules
from training.model.orientation_graph import may_be_turned, turn_upright

__all__ = ["Pixels", "decode_into", "decode_photos", "preprocess"]

Pixels = npt.NDArray[np.uint8]

RATIOS = (1, 2, 4, 8)
"""The ratios by which libjpeg can shrink a photo while it decodes."""

RARE = len(RATIOS)
"""The branch of `_decode` for everything but an upright JPEG of a valid size."""

PNG_HEADER = 33
"""Bytes of a PNG's signature and header."""

ANIMATED, TRANSPARENT = r"\C*\x00\x00\x00\x08acTL\C*", r"\C*tRNS\C*"
"""Match the head of a PNG that has these chunks."""

UNKNOWN_FORMAT = "expected a JPEG or PNG photo; `orchard predict` converts HEIC, AVIF, WebP, GIF, TIFF and BMP"


def preprocess(image_bytes: Any, size: int, rules: SchemaRules | None = None, *, crop: bool = False) -> Any:
    """Convert photos to pixels, in a TensorFlow graph.

    Args:
        image_bytes: string tensor [N], JPEG or PNG files.
        size: pixels a side.
        rules: refuse photos whose sizes break them; None: take every size.
        crop: cut photos to the square in their middle; they are stretched otherwise.

    Returns:
        float32 tensor [N, size, size, 3], whole numbers 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: when run, if one is not a JPEG or PNG, is truncated, or breaks the rules.
    """
    form = tf.TensorSpec([size, size, 3], tf.float32)

    def to_pixels(photo: Any) -> Any:
        decoded = _decode(photo, size, rules)
        return _resize((_cut(decoded, tf.shape(decoded)) if crop else decoded)[tf.newaxis], size)[0]

    with tf.name_scope("preprocess"):
        return tf.map_fn(to_pixels, image_bytes, fn_output_signature=form)


def _decode(photo: Any, size: int, rules: SchemaRules | None) -> Any:
    """The upright pixels of a photo, scaled down if it is large: uint8 tensor [H, W, 3]."""
    head = tf.strings.substr(photo, 0, HEAD)
    is_jpeg, turned = _begins(head, JPEG), may_be_turned(head)

    def at(ratio: int) -> Any:
        return tf.io.decode_jpeg(photo, channels=3, dct_method="INTEGER_ACCURATE", ratio=ratio)

    def choose() -> Any:
        sides = tf.image.extract_jpeg_shape(photo)[:2]
        times = tf.reduce_min(sides) // size
        ratio = tf.add_n([tf.cast(times >= ratio, tf.int32) for ratio in RATIOS[1:]])
        return ratio if rules is None else tf.where(_keeps(sides, rules, rules.pixels), ratio, RARE)

    def decode_jpeg() -> Any:
        which = choose()
        decoded = [lambda ratio=ratio: at(ratio) for ratio in RATIOS]
        pixels = tf.switch_case(which, [*decoded, lambda: _refuse_size(tf.image.extract_jpeg_shape(photo)[:2], rules)])
        return tf.cond(turned, lambda: turn_upright(pixels, head, is_jpeg=True), lambda: pixels)

    def decode_rare() -> Any:
        other = functools.partial(_decode_png, photo, head, turned, rules)
        is_png = _begins(head, PNG) & (tf.strings.length(head) >= PNG_HEADER)
        pixels = tf.cond(is_jpeg, decode_jpeg, lambda: tf.cond(is_png, other, lambda: _refuse(UNKNOWN_FORMAT)))
        return _kept_as_function(pixels)

    usual = is_jpeg & tf.logical_not(turned)
    which = tf.cond(usual, choose, lambda: RARE)
    return tf.switch_case(which, [*(lambda ratio=ratio: at(ratio) for ratio in RATIOS), decode_rare])


def _kept_as_function(result: Any) -> Any:
    """Have a `tf.cond` run as a call: TensorFlow would else visit all its operations for every photo, taken or not."""
    operation = result.op
    while operation.type == "Identity":
        operation = operation.inputs[0].op
    operation._set_attr("_lower_using_switch_merge", attr_value_pb2.AttrValue(b=False))
    return result


def _begins(head: Any, signature: bytes) -> Any:
    return tf.equal(tf.strings.substr(head, 0, len(signature)), signature)


def _decode_png(photo: Any, head: Any, turned: Any, rules: SchemaRules | None) -> Any:
    """The upright pixels of a PNG on white, with the rounding of Pillow."""
    # width and height in its header; as int32, they are negative from 2**31 on
    sides = tf.reshape(tf.io.decode_raw(tf.strings.substr(head, 16, 8), tf.int32, little_endian=False), [2])[::-1]

    def on_white() -> Any:
        layer = tf.cast(tf.io.decode_png(photo, channels=4), tf.int32)
        alpha = layer[:, :, 3:]
        return tf.cast((layer[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)

    def decode() -> Any:
        # with four channels, TensorFlow does not expand grey of fewer than 8 bits without transparency
        kind = tf.strings.substr(head, 25, 1)
        transparent = tf.equal(kind, b"\x04") | tf.equal(kind, b"\x06") | tf.strings.regex_full_match(head, TRANSPARENT)
        pixels = tf.cond(transparent, on_white, lambda: tf.io.decode_png(photo, channels=3))
        return tf.cond(turned, lambda: turn_upright(pixels, head, is_jpeg=False), lambda: pixels)

    def check_frames() -> Any:
        animated = tf.strings.regex_full_match(head, ANIMATED)
        return tf.cond(animated, lambda: _refuse("expected one picture; this PNG is animated"), decode)

    if rules is None:
        return check_frames()
    keeps = _keeps(sides, rules, min(rules.pixels, rules.full_size))
    return tf.cond(keeps, check_frames, lambda: _refuse_size(sides, rules))


def _keeps(sides: Any, rules: SchemaRules, pixels: int) -> Any:
    """Whether a photo's sides, int32 tensor [2], keep the rules."""
    count = tf.reduce_prod(tf.cast(sides, tf.int64))
    in_range = (tf.reduce_min(sides) >= rules.side.min) & (tf.reduce_max(sides) <= rules.side.max)
    return in_range & (count <= pixels)


def _refuse_size(sides: Any, rules: SchemaRules | None) -> Any:
    if rules is None:
        return _refuse("expected another size")
    limits = (
        f"expected sides of {rules.side.min} to {rules.side.max} pixels, at most {rules.pixels} pixels in all and in a PNG "
        f"{min(rules.pixels, rules.full_size)}, as side, pixels and full_size in data/schema.yaml say; height and width are"
    )
    return _refuse(limits, sides[0], sides[1])


def _refuse(*message: Any) -> Any:
    with tf.control_dependencies([tf.debugging.Assert(False, list(message))]):
        return tf.zeros([1, 1, 3], tf.uint8)


def _cut(pixels: Any, shape: Any) -> Any:
    """The square in the middle of a photo, [H, W, 3], a tensor or an array; a half pixel goes to the right and below."""
    height, width = shape[0], shape[1]
    side = (tf.minimum if tf.is_tensor(height) else min)(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _resize(pixels: Any, size: int) -> Any:
    levels = tf.image.resize(pixels, [size, size], method="area")
    return tf.floor(levels + 0.5)


def decode_photos(photos: Sequence[bytes], size: int, *, crop: bool = False) -> Pixels:
    """Convert photos to pixels as `preprocess` does, bit for bit, a few times as fast.

    Args:
        photos: N files, JPEG or PNG.
        size: pixels a side.
        crop: as in `preprocess`.

    Returns:
        uint8[N, size, size, 3].

    Raises:
        tf.errors.InvalidArgumentError: one is not an image or is truncated.
    """
    pixels = np.empty((len(photos), size, size, 3), np.uint8)
    decode_into(pixels, range(len(photos)), photos, crop=crop)
    return pixels


def decode_into(pixels: Pixels, places: Sequence[int], photos: Sequence[bytes], *, crop: bool = False) -> None:
    """Convert photos to pixels as `decode_photos` does, each at its place in an array.

    libjpeg-turbo decodes JPEG files without TensorFlow, so other threads can run meanwhile. Photos of one shape are
    resized together, if they need it. All other files go through `preprocess`.

    Args:
        pixels: uint8[M, size, size, 3]; written only at `places`.
        places: N positions.
        photos: N files, JPEG or PNG.
        crop: as in `preprocess`.

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
            continue
        if crop:
            decoded = _cut(decoded, decoded.shape)
        if decoded.shape != (size, size, 3):
            by_shape[decoded.shape].append((place, decoded))
        elif not np.shares_memory(decoded, pixels):
            pixels[place] = decoded
    full, resize = _graphs(size, crop)
    for group in by_shape.values():
        pixels[[place for place, _ in group]] = resize(np.stack([decoded for _, decoded in group])).numpy()
    if rest:
        pixels[[place for place, _ in rest]] = full([photo for _, photo in rest]).numpy()


def _decode_jpeg(photo: bytes, size: int, place: Pixels) -> Pixels | None:
    """Decode a JPEG as `preprocess` does, in place if it fits; None: TensorFlow has to decode it."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(photo)
        if colours not in ("YCbCr", "Gray"):
            return None
        orientation = read_orientation(photo)
        least, fits = _scaled(height, width, size)
        buffer = place if fits and orientation == UPRIGHT else None
        pixels = simplejpeg.decode_jpeg(photo, min_height=least[0], min_width=least[1], buffer=buffer)
    except ValueError:  # PNG or damaged: TensorFlow decodes it, or raises with the cause
        return None
    upright: Pixels = turn(pixels, orientation)
    return upright


@lru_cache(maxsize=1024)
def _scaled(height: int, width: int, size: int) -> tuple[tuple[int, int], bool]:
    """Height and width of a photo at the ratio that `preprocess` chooses, and whether that is the final size."""
    ratio = max([ratio for ratio in RATIOS if min(height, width) // size >= ratio], default=1)
    scaled = -(-height // ratio), -(-width // ratio)
    return scaled, scaled == (size, size)


@lru_cache(maxsize=4)
def _graphs(size: int, crop: bool) -> tuple[Any, Any]:
    """`preprocess`, and its last two steps for decoded photos of one shape, as functions to uint8."""

    def to_bytes(levels: Any) -> Any:
        return tf.cast(levels, tf.uint8)

    return (
        tf.function(
            lambda photos: to_bytes(preprocess(photos, size, crop=crop)),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        ),
        tf.function(
            lambda pixels: to_bytes(_resize(pixels, size)),
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
            autograph=False,
        ),
    )
