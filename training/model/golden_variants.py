"""Variants of golden photos as phones and drawing programs write them: on its side with Exif, and with transparency.

An engine that ignores either predicts something else, so `orchard sync` gives the version no label there.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image

from training.orientation import EXIF, JPEG, ORIENTATION

__all__ = ["lying", "make_variants", "transparent"]

ON_ITS_SIDE = 6
LEAST_SIDE = 96
"""Pixels of the shorter side of a transparent variant, unless the schema needs more: golden photos stay small."""


def make_variants(photos: Sequence[bytes], least_side: int) -> list[list[bytes]]:
    """Return, for each kind of variant, one of every photo that allows it."""
    return [
        [lying(photo) for photo in photos if photo.startswith(JPEG)],
        [transparent(photo, max(LEAST_SIDE, least_side)) for photo in photos],
    ]


def lying(photo: bytes) -> bytes:
    """Return a JPEG whose Exif says that it lies on its side; its data are unchanged."""
    entry = struct.pack(">HHIHH", ORIENTATION, 3, 1, ON_ITS_SIDE, 0)
    block = EXIF + struct.pack(">2sHIH", b"MM", 42, 8, 1) + entry + bytes(4)
    return photo[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + photo[2:]


def transparent(photo: bytes, side: int) -> bytes:
    """Return a photo as a PNG that fades to transparent from the left to the right."""
    with Image.open(io.BytesIO(photo)) as image:
        picture = image.convert("RGB")
    scale = min(1.0, side / min(picture.size))
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    picture.putalpha(Image.linear_gradient("L").rotate(90).resize(picture.size))
    body = io.BytesIO()
    picture.save(body, "PNG")
    return body.getvalue()
