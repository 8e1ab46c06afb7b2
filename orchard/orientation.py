"""The EXIF orientation of a JPEG or PNG, and how to turn its pixels upright: the rule of ingest, training, serving and capture.

The exported graph has the same rule as TensorFlow operations (`training.model.orientation_graph`), so that every engine
and every client sees a photo as ingest sees it. The rule reads one place only: the first entry `Orientation` of the first
directory of the first Exif block, which must come before the picture's tables and data, in the first 16 KiB. XMP,
thumbnails and maker notes do not count.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "APP0",
    "APP1",
    "APP15",
    "COMMENT",
    "DATA",
    "ENTRY",
    "EXIF",
    "FILL",
    "HEAD",
    "JPEG",
    "LONG",
    "ORIENTATION",
    "PNG",
    "SHORT",
    "TURNS",
    "UPRIGHT",
    "read_orientation",
    "turn",
]

HEAD = 1 << 14
"""How many bytes of a file are searched: a search of all bytes would cost as much as the decoding."""

UPRIGHT = 1
ORIENTATION = 0x0112
EXIF = b"Exif\0\0"
ENTRY = 12
"""Bytes of an entry: tag (2), type (2), count (4), value (4)."""

SHORT, LONG = 3, 4
"""The types of an entry whose value is a whole number of 16 or 32 bits."""

TURNS = (
    (False, 1, 1),
    (False, 1, -1),
    (False, -1, -1),
    (False, -1, 1),
    (True, 1, 1),
    (True, 1, -1),
    (True, -1, -1),
    (True, -1, 1),
)
"""For each orientation, from 1: whether rows become columns, and then the step through the rows and the columns."""

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
APP0, APP1, APP15, COMMENT, FILL = 0xE0, 0xE1, 0xEF, 0xFE, 0xFF
DATA = b"IDAT"


def read_orientation(body: bytes) -> int:
    """Return how a photo has to be turned: 1 (upright) to 8, as Exif counts; 1 for anything that is not clear.

    Args:
        body: a whole file; only JPEG and PNG have an orientation here.
    """
    if body.startswith(JPEG):
        block = _jpeg_block(body[:HEAD])
    elif body.startswith(PNG):
        block = _png_block(body[:HEAD])
    else:
        return UPRIGHT
    return _read_directory(block) if block else UPRIGHT


def _jpeg_block(head: bytes) -> bytes:
    """The first Exif block among the application segments and comments at the begin of a JPEG."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker, size = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == APP1 and head[at + 4 : at + 10] == EXIF:
            return head[at + 10 : at + 2 + size]
        if marker == FILL:
            at += 1
        elif APP0 <= marker <= APP15 or marker == COMMENT:
            at += 2 + size
        else:
            break
    return b""


def _png_block(head: bytes) -> bytes:
    """The first eXIf chunk of a PNG before its data."""
    at = len(PNG)
    while at + 8 <= len(head) and head[at + 4 : at + 8] != DATA:
        size = int.from_bytes(head[at : at + 4], "big")
        if head[at + 4 : at + 8] == b"eXIf":
            return head[at + 8 : at + 8 + size].removeprefix(EXIF)
        at += 12 + size
    return b""


def _read_directory(block: bytes) -> int:
    if block[:4] not in {b"MM\0*", b"II*\0"} or len(block) < 8:
        return UPRIGHT
    order: Literal["big", "little"] = "big" if block[:1] == b"M" else "little"
    start = int.from_bytes(block[4:8], order)
    count = int.from_bytes(block[start : start + 2], order)
    entries = block[start + 2 : start + 2 + count * ENTRY]
    for at in range(0, len(entries) - ENTRY + 1, ENTRY):
        if int.from_bytes(entries[at : at + 2], order) == ORIENTATION:
            kind = int.from_bytes(entries[at + 2 : at + 4], order)
            number = int.from_bytes(entries[at + 4 : at + 8], order)
            value = int.from_bytes(entries[at + 8 : at + (10 if kind == SHORT else 12)], order)
            return value if kind in {SHORT, LONG} and number == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def turn(pixels: Any, orientation: int) -> Any:
    """Turn pixels upright.

    Args:
        pixels: array[H, W, …] as decoded.
        orientation: of `read_orientation`.

    Returns:
        A view: array[H, W, …], or array[W, H, …] if it stands on its side.
    """
    transposed, rows, columns = TURNS[orientation - 1]
    if transposed:
        pixels = pixels.swapaxes(0, 1)
    return pixels[::rows, ::columns]
