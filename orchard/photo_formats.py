"""The formats of photos: a served model reads JPEG and PNG; all others are converted before they are sent.

The converter is the one of `orchard ingest`, found as an entry point, since this library decodes no photo. So a photo is
predicted with the pixels that ingest stores, or refused with ingest's reason.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from orchard.errors import DataError, install_hint

__all__ = ["CONVERTED", "SERVED", "as_served", "is_photo"]

GROUP = "orchard.photos"

SERVED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""The first bytes of JPEG and PNG."""

CONVERTED = (b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
"""The first bytes of GIF, BMP, TIFF and WebP."""


def is_photo(begin: bytes) -> bool:
    """Whether a file with these first bytes may be a photo that can be predicted."""
    return begin.startswith(SERVED + CONVERTED)


def as_served(body: bytes) -> bytes:
    """Return a photo in a format that a served model reads; anything but GIF, BMP, TIFF and WebP unchanged.

    Raises:
        DataError: it cannot be converted, or the converter is not installed.
    """
    if not body.startswith(CONVERTED):
        return body
    point = next(iter(entry_points(group=GROUP, name="convert")), None)
    if point is None:
        raise DataError(
            "the model reads JPEG and PNG, and this is another format",
            hint=f"save it as JPEG, or {install_hint('training')}",
        )
    converted: bytes = point.load()(body)
    return converted
