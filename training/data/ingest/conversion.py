"""Converts pictures that the served model does not read to 8-bit RGB, and compares each result with its source.

A decoder may read a rare kind of file wrongly without an error: 16 bits in the other byte order, signed as unsigned
values, white as zero. So the source's values are read a second way, with NumPy, and must have the range and the mean of
the result. A photo that is dark in its source stays; one that only its conversion makes black, white or flat is rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.rejections import PhotoRejected, RejectionReason

__all__ = ["Levels", "check_conversion", "cmyk_to_rgb", "on_white", "to_rgb"]

Levels = npt.NDArray[np.uint8]

KEPT_MODES = {"1", "L", "P", "RGB", "LA", "RGBA", "RGBa", "PA"}
BITS, WHITE_IS, SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF."""

UNSIGNED, WHITE_IS_ZERO = {1, 4}, 0
FEW_LEVELS, LOST = 24, 4
"""A result with fewer levels than the first, of a source with so many times as many, shows hardly anything."""

MEAN_TOLERANCE = 3 / 255
RANGE_TOLERANCE = 6 / 255


def on_white(layer: Levels) -> Levels:
    """Put pixels with alpha on white, with the rounding of the served model: uint8[H, W, 4] to uint8[H, W, 3]."""
    colours, alpha = layer[..., :3].astype(np.int32), layer[..., 3:].astype(np.int32)
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def cmyk_to_rgb(inks: Levels) -> Levels:
    """Convert CMYK to RGB as TensorFlow does, colour profile or not: uint8[H, W, 4] to uint8[H, W, 3]."""
    light = 255 - inks.astype(np.int32)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)


def to_rgb(image: Image.Image) -> tuple[Levels, str]:
    """Return a loaded picture as uint8[H, W, 3], and how its kind was changed; empty: it was 8-bit without transparency.

    Raises:
        PhotoRejected: its kind of pixels is not supported, or nearly nothing of it would be left.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if not set(_numbers(tags.get(SAMPLE_FORMAT, 1))) <= UNSIGNED:
        raise PhotoRejected(
            RejectionReason.MODE, "its values are signed or floating point; save it with 8 bits, unsigned"
        )
    if image.mode in KEPT_MODES:
        if image.has_transparency_data:
            layer = np.asarray(image.convert("RGBA"))
            opaque = bool((layer[..., 3] == 255).all())
            return on_white(layer), "" if opaque else "transparency put on white"
        return np.asarray(image.convert("RGB")), ""
    if image.mode == "CMYK":
        return cmyk_to_rgb(np.asarray(image)), "CMYK converted to RGB"
    if image.mode == "YCbCr":
        return np.asarray(image.convert("RGB")), "YCbCr converted to RGB"
    if image.mode.startswith("I;16"):
        return _from_16_bits(image, tags), "16 bits reduced to 8"
    raise PhotoRejected(
        RejectionReason.MODE, f"pixels are {image.mode!r}; expected 8 or 16 bits of grey, palette, RGB or CMYK"
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


def _from_16_bits(image: Image.Image, tags: Any) -> Levels:
    """The upper 8 of a grey picture's bits. TensorFlow takes the same of a PNG."""
    values = np.frombuffer(image.tobytes(), ">u2" if image.mode == "I;16B" else "<u2").reshape(image.size[::-1])
    bits = min(16, max(8, *_numbers(tags.get(BITS, 16)), 8))
    grey = (values >> (bits - 8)).astype(np.uint8)
    if len(np.unique(grey)) < FEW_LEVELS and len(np.unique(values)) >= LOST * len(np.unique(grey)):
        look = "black" if grey.mean() < 128 else "white"
        raise PhotoRejected(
            RejectionReason.MODE,
            f"its {bits}-bit values are {values.min()} to {values.max()}: in 8 bits {len(np.unique(grey))} levels would be left, "
            f"nearly {look}; save it with 8 bits, brightened to the whole range",
        )
    if tags.get(WHITE_IS) == WHITE_IS_ZERO:
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def check_conversion(image: Image.Image, pixels: Levels) -> None:
    """Compare converted pixels with their source's values.

    Args:
        image: the loaded source.
        pixels: uint8[H, W, 3], from the bytes that will be stored, before they are turned upright.

    Raises:
        PhotoRejected: range or mean differ, or dark is bright.
    """
    if image.mode == "RGB" and np.array_equal(np.asarray(image), pixels):  # most photos, in a fifth of the memory
        return
    source = _grey(image)
    if source is None:
        return
    result = pixels.astype(np.float32).mean(axis=2) / 255
    differences = abs(source.mean() - result.mean()), abs(source.min() - result.min()), abs(source.max() - result.max())
    inverted = float(((source - source.mean()) * (result - result.mean())).sum()) < 0
    if inverted or differences[0] > MEAN_TOLERANCE or max(differences[1:]) > RANGE_TOLERANCE:
        raise PhotoRejected(
            RejectionReason.MODE,
            f"its conversion to RGB fails: the source has the mean {source.mean():.2f} ({source.min():.2f} to "
            f"{source.max():.2f}), the result {result.mean():.2f} ({result.min():.2f} to {result.max():.2f})"
            f"{', inverted' if inverted else ''}; save it as JPEG or PNG with 8 bits",
        )


def _grey(image: Image.Image) -> Any:
    """The mean of a source's channels, 0 to 1, read without Pillow's conversions; None: it has alpha or a palette."""
    if image.has_transparency_data or image.mode in {"P", "PA", "RGBa", "YCbCr"}:
        return None
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "CMYK":
        light = 1 - values.astype(np.float32) / 255
        return (light[..., :3] * light[..., 3:]).mean(axis=2)
    if image.mode.startswith("I;16"):
        bits = min(16, max(8, *_numbers(tags.get(BITS, 16)), 8))
        raw = np.frombuffer(image.tobytes(), ">u2" if image.mode == "I;16B" else "<u2").reshape(image.size[::-1])
        share = raw.astype(np.float32) / (2**bits - 1)
        return 1 - share if tags.get(WHITE_IS) == WHITE_IS_ZERO else share
    share = values.astype(np.float32) / (1 if image.mode == "1" else 255)
    return share if share.ndim == 2 else share[..., :3].mean(axis=2)
