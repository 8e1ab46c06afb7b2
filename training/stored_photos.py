"""Photos of a dataset, opened with Pillow. Ingest has checked their sizes by the schema, so Pillow's own limit is off."""

from __future__ import annotations

import io

from PIL import Image

__all__ = ["open_stored"]

Image.MAX_IMAGE_PIXELS = None


def open_stored(photo: bytes) -> Image.Image:
    """Open a photo that ingest has accepted, however many pixels it has. The caller closes it."""
    return Image.open(io.BytesIO(photo))
