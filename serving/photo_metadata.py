"""Removes the metadata of JPEG and PNG without decoding them: the pixels' bytes stay as they are.

What a decoder needs stays: tables, scans, colour profile, transparency, and the orientation, in a new Exif block that holds
nothing else. All other data goes: Exif with its place and camera, XMP, IPTC, comments, texts, thumbnails, and whatever
follows the picture, such as the film of a motion photo.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from orchard.orientation import (
    APP0,
    APP1,
    APP15,
    COMMENT,
    EXIF,
    FILL,
    JPEG,
    ORIENTATION,
    PNG,
    SHORT,
    UPRIGHT,
    read_orientation,
)

__all__ = ["follows_picture", "without_metadata"]

_SOI, _EOI, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}
"""Huffman and arithmetic tables, quantisation tables, the number of lines, the restart interval."""

_APP2, _APP14 = 0xE2, 0xEE
_PROFILE, _JFIF, _ADOBE = b"ICC_PROFILE\0", b"JFIF\0", b"Adobe"
_JFIF_BYTES, _ADOBE_BYTES = 14, 12
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""The next marker that does not belong to a scan's data."""

_CHUNKS = set(b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP bKGD pHYs".split())
"""The chunks of PNG that say which pixels there are and how they look."""


def without_metadata(body: bytes) -> bytes | None:
    """Return a photo without its metadata, with the same pixels and the same orientation.

    Args:
        body: a whole file.

    Returns:
        The smaller file; None: it is not a JPEG or PNG that can be followed from its begin to its end.
    """
    parts: list[bytes] = []
    return b"".join(parts) if _keep(body, parts) else None


def follows_picture(body: bytes) -> bytes:
    """Return what a JPEG or PNG has after its picture, or all of a file that is neither; `without_metadata` removes it."""
    return body[_keep(body, []) :]


def _keep(body: bytes, parts: list[bytes]) -> int:
    """Append what stays of a photo; returns where its picture ends, 0: nowhere."""
    if body.startswith(JPEG):
        return _keep_segments(body, parts)
    return _keep_chunks(body, parts) if body.startswith(PNG) else 0


def _exif(body: bytes) -> bytes:
    """An Exif block with the orientation alone; empty: the photo is upright."""
    orientation = read_orientation(body)
    if orientation == UPRIGHT:
        return b""
    entry = ORIENTATION.to_bytes(2) + SHORT.to_bytes(2) + (1).to_bytes(4) + orientation.to_bytes(2) + bytes(2)
    return b"MM\0*" + (8).to_bytes(4) + (1).to_bytes(2) + entry + bytes(4)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((FILL, marker)) + (len(content) + 2).to_bytes(2) + content


def _kept(marker: int, content: bytes) -> bytes:
    """What stays of an application segment or a comment."""
    if marker == APP0 and content.startswith(_JFIF) and len(content) >= _JFIF_BYTES:
        return _segment(marker, content[: _JFIF_BYTES - 2] + bytes(2))  # without a thumbnail
    if marker == _APP2 and content.startswith(_PROFILE):
        return _segment(marker, content)
    if marker == _APP14 and content.startswith(_ADOBE) and len(content) >= _ADOBE_BYTES:
        return _segment(marker, content[:_ADOBE_BYTES])  # how colours are coded
    return b""


def _keep_segments(body: bytes, parts: list[bytes]) -> int:
    """Append what stays of a JPEG; returns where it ends, 0: not as one does."""
    parts.append(_SOI)
    if block := _exif(body):
        parts.append(_segment(APP1, EXIF + block))
    at, framed = 2, False
    while at + 4 <= len(body) and body[at] == FILL:
        marker, size = body[at + 1], int.from_bytes(body[at + 2 : at + 4])
        if marker == FILL:
            at += 1
            continue
        end = at + 2 + size
        if size < 2 or end > len(body):
            return 0
        if APP0 <= marker <= APP15 or marker == COMMENT:
            parts.append(_kept(marker, body[at + 4 : end]))
        elif marker in _TABLES or marker in _FRAMES:
            parts.append(body[at:end])
            framed = framed or marker in _FRAMES
        elif marker == _SCAN and framed:
            found = _AFTER_SCAN.search(body, end)
            if found is None:
                return 0
            end = found.start()
            parts.append(body[at:end])
            if body[end : end + 2] == _EOI:
                parts.append(_EOI)
                return end + len(_EOI)
        else:
            return 0
        at = end
    return 0


def _png_chunks(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name, the begin and the end of each chunk that is whole."""
    at = len(PNG)
    while at + 12 <= len(body):
        end = at + 12 + int.from_bytes(body[at : at + 4])
        if end > len(body):
            return
        yield body[at + 4 : at + 8], at, end
        at = end


def _keep_chunks(body: bytes, parts: list[bytes]) -> int:
    """Append what stays of a PNG; returns where it ends, 0: it does not begin or end as one does."""
    parts.append(PNG)
    for name, start, end in _png_chunks(body):
        if (name == b"IHDR") != (len(parts) == 1):
            return 0
        if name in _CHUNKS:
            parts.append(body[start:end])
        elif not name.isalpha() or name[:1].isupper():  # an unknown chunk that a decoder must understand
            return 0
        if name == b"IEND":
            return end
        if name == b"IHDR" and (block := _exif(body)):
            parts.append(len(block).to_bytes(4) + b"eXIf" + block + zlib.crc32(b"eXIf" + block).to_bytes(4))
    return 0
