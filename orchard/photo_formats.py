"""The formats of photos: a served model reads JPEG and PNG in sRGB; all others are converted before they are sent.

The converter is the one of `orchard ingest`, found as an entry point, since this library decodes no photo. So a photo is
predicted with the pixels that ingest stores, or refused with ingest's reason.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from orchard.errors import DataError, install_hint
from orchard.icc_profiles import embedded_profile, is_animated_png, is_srgb

__all__ = ["CONVERTED", "FORMATS", "HEIF_BRANDS", "SERVED", "as_served", "is_photo"]

GROUP = "orchard.photos"
FORMATS = "JPEG, PNG, HEIC, AVIF, WebP, GIF, TIFF or BMP"
"""All formats, for messages."""

SERVED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""The first bytes of JPEG and PNG."""

CONVERTED = (b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
"""The first bytes of GIF, BMP, TIFF and WebP."""

HEIF_BRANDS = frozenset(b"heic heix hevc hevx heim heis mif1 msf1 avif avis".split())
"""What follows ``ftyp`` at the begin of HEIC and AVIF; other brands are of videos."""


def is_photo(begin: bytes) -> bool:
    """Whether a file with these first bytes may be a photo that can be predicted."""
    return begin.startswith(SERVED) or _is_foreign(begin)


def _is_foreign(body: bytes) -> bool:
    return body.startswith(CONVERTED) or (body[4:8] == b"ftyp" and body[8:12] in HEIF_BRANDS)


def as_served(body: bytes) -> bytes:
    """Return a photo as a served model reads it: a JPEG or PNG of one picture in sRGB; what is none unchanged.

    Raises:
        DataError: it cannot be converted, or the converter is not installed.
    """
    problem = _problem(body)
    if not problem:
        return body
    point = next(iter(entry_points(group=GROUP, name="convert")), None)
    if point is None:
        raise DataError(problem, hint=f"save it as JPEG in sRGB, or {install_hint('training')}")
    converted: bytes = point.load()(body)
    return converted


def _problem(body: bytes) -> str:
    """Why a photo must be converted; empty: it need not."""
    if _is_foreign(body):
        return "the model reads JPEG and PNG, and this is another format"
    if is_animated_png(body):
        return "the model reads one picture, and this PNG has several"
    profile = embedded_profile(body)
    if profile is not None and not is_srgb(profile):
        return "the model reads sRGB, and this photo has another colour profile"
    return ""
