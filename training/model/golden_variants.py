"""Golden photos as they are exported: small, and variants as phones and drawing programs write them.

A variant lies on its side with Exif, or has transparency.

An engine that ignores either predicts something else, so `orchard sync` gives the version no label there.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image, ImageOps

from orchard.golden import MAX_PHOTO_BYTES
from orchard.orientation import EXIF, JPEG, ORIENTATION
from training.stored_photos import open_stored

__all__ = ["lying", "make_variants", "shrink", "transparent"]

ON_ITS_SIDE = 6
LARGE_BYTES = 100_000
"""A larger photo is encoded again: every start of a server reads and decodes the golden photos."""

SMALL_SIDE = 256
"""Pixels of the shorter side of a photo that is encoded again, unless the schema needs more."""

QUALITIES = (90, 75, 50, 25)
"""JPEG qualities that are tried until the photo is small enough."""

LEAST_SIDE = 96
"""Pixels of the shorter side of a transparent variant, unless the schema needs more: golden photos stay small."""


def shrink(photo: bytes, least_side: int) -> bytes | None:
    """Return a photo that is small enough for an export: itself, or an upright copy of fewer pixels as JPEG.

    Args:
        photo: the file's bytes.
        least_side: the smallest shorter side that the schema allows, pixels; the copy keeps it.

    Returns:
        None if even the coarsest copy has more than `MAX_PHOTO_BYTES`.
    """
    if len(photo) <= LARGE_BYTES:
        return photo
    picture = _scaled(photo, max(SMALL_SIDE, least_side))
    for quality in QUALITIES:
        body = io.BytesIO()
        picture.save(body, "JPEG", quality=quality)
        if body.tell() <= MAX_PHOTO_BYTES:
            return body.getvalue()
    return None


def _scaled(photo: bytes, side: int) -> Image.Image:
    """Return the upright RGB picture with the shorter side of at most so many pixels."""
    with open_stored(photo) as image:
        image.draft("RGB", (side, side))  # a JPEG is decoded at a half, a quarter or an eighth, but not below this size
        picture = ImageOps.exif_transpose(image).convert("RGB")
    scale = min(1.0, side / min(picture.size))
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def make_variants(photos: Sequence[bytes], least_side: int) -> list[list[bytes]]:
    """Return, for each kind of variant, one of every photo that allows it and leaves it small enough."""
    kinds = (
        [lying(photo) for photo in photos if photo.startswith(JPEG)],
        [transparent(photo, max(LEAST_SIDE, least_side)) for photo in photos],
    )
    return [[variant for variant in variants if len(variant) <= MAX_PHOTO_BYTES] for variants in kinds]


def lying(photo: bytes) -> bytes:
    """Return a JPEG whose Exif says that it lies on its side; its data are unchanged."""
    entry = struct.pack(">HHIHH", ORIENTATION, 3, 1, ON_ITS_SIDE, 0)
    block = EXIF + struct.pack(">2sHIH", b"MM", 42, 8, 1) + entry + bytes(4)
    return photo[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + photo[2:]


def transparent(photo: bytes, side: int) -> bytes:
    """Return a photo as a PNG that fades to transparent from the left to the right."""
    picture = _scaled(photo, side)
    picture.putalpha(Image.linear_gradient("L").rotate(90).resize(picture.size))
    body = io.BytesIO()
    picture.save(body, "PNG")
    return body.getvalue()
