"""The ICC colour profile of a JPEG or PNG, read without a library for pictures: whether there is one, and whether it is sRGB.

A served model reads all pixels as sRGB. `orchard ingest` converts photos with another profile; the client converts them
too before they are sent, and finds them with this module: a photo without a profile costs a walk over a few segments.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product

__all__ = ["MAX_PROFILE", "embedded_profile", "is_animated_png", "is_srgb"]

MAX_PROFILE = 4 << 20
"""The most bytes of a profile; those of printers have up to three million."""

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_SCAN, _APP2, _FILL = 0xDA, 0xE2, 0xFF
_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers of JPEG without a size."""

_JPEG_NAME = b"ICC_PROFILE\0"
Curve = Callable[[float], float]
_FROM_XYZ = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
"""From XYZ of D50 to the light of sRGB: the inverse of its primaries."""

_TOLERANCE = 1 / 255
"""Of a value after the conversion to sRGB. Near black, a small error of the primaries is large: values are compared, not primaries."""

_SHARES = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)
_GREYS = tuple(number / 32 for number in range(33))


def embedded_profile(body: bytes) -> bytes | None:
    """Return the colour profile of a JPEG or PNG; None: it has none, or none that is whole."""
    if body.startswith(JPEG):
        return _jpeg_profile(body)
    if not body.startswith(PNG):
        return None
    chunk = next((content for kind, content in _png_chunks(body) if kind == b"iCCP"), b"")
    try:  # the profile's name, the method, and the compressed profile
        return zlib.decompressobj().decompress(chunk[chunk.index(b"\0") + 2 :], MAX_PROFILE) or None
    except (ValueError, zlib.error):
        return None


def is_animated_png(body: bytes) -> bool:
    """Whether a file is a PNG of several pictures, which no served model reads."""
    return body.startswith(PNG) and any(kind == b"acTL" for kind, _ in _png_chunks(body))


def _jpeg_profile(body: bytes) -> bytes | None:
    parts: dict[int, bytes] = {}
    count, at = 0, 2
    while at + 4 <= len(body) and body[at] == _FILL and body[at + 1] != _SCAN:
        marker, size = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        if marker == _FILL or marker in _BARE:
            at += 1 if marker == _FILL else 2
            continue
        if marker == _APP2 and body[at + 4 : at + 16] == _JPEG_NAME and size >= 16:
            count = body[at + 17]
            parts[body[at + 16]] = body[at + 18 : at + 2 + size]
        at += 2 + size
    if not parts or sorted(parts) != list(range(1, count + 1)):
        return None
    return b"".join(parts[number] for number in sorted(parts))


def _png_chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks before the pixels."""
    at = len(PNG)
    while at + 8 <= len(body) and body[at + 4 : at + 8] != b"IDAT":
        size = int.from_bytes(body[at : at + 4], "big")
        yield body[at + 4 : at + 8], body[at + 8 : at + 8 + size]
        at += 12 + size


@lru_cache(maxsize=8)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile shows every colour as sRGB does, by its values and not by its name; False also if that is unclear."""
    try:
        tags = _tags(profile)
        if profile[16:24] != b"RGB XYZ " or b"A2B0" in tags:
            return False
        primaries = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
        colours = (*product(_SHARES, repeat=3), *((grey,) * 3 for grey in _GREYS))
        return all(_is_kept(colour, curves, primaries) for colour in colours)
    except (struct.error, KeyError, IndexError, ArithmeticError, ValueError):
        return False


def _is_kept(colour: Sequence[float], curves: Sequence[Curve], primaries: Sequence[Sequence[int]]) -> bool:
    """Whether a colour has the same values in sRGB."""
    light = [curve(share) for curve, share in zip(curves, colour, strict=True)]
    xyz = [
        sum(part * primary[axis] / 65536 for part, primary in zip(light, primaries, strict=True)) for axis in range(3)
    ]
    found = (sum(factor * value for factor, value in zip(row, xyz, strict=True)) for row in _FROM_XYZ)
    return all(abs(_encode(value) - share) <= _TOLERANCE for value, share in zip(found, colour, strict=True))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(min(count, 200)))
    return {name: profile[at : at + size] for name, at, size in entries}


def _curve(tag: bytes) -> Curve:
    return _table_curve(tag) if tag[:4] == b"curv" else _formula_curve(tag)


def _encode(light: float) -> float:
    """The value of sRGB, 0 to 1, that means so much light; more than there is, is cut off."""
    light = min(max(light, 0.0), 1.0)
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def _table_curve(tag: bytes) -> Curve:
    (count,) = struct.unpack_from(">I", tag, 8)
    if count < 2:
        gamma = struct.unpack_from(">H", tag, 12)[0] / 256 if count else 1.0
        return lambda share: share**gamma
    table = struct.unpack_from(f">{count}H", tag, 12)

    def interpolate(share: float) -> float:
        place = share * (count - 1)
        low = min(int(place), count - 2)
        return float((table[low] + (table[low + 1] - table[low]) * (place - low)) / 65535)

    return interpolate


def _formula_curve(tag: bytes) -> Curve:
    """A curve of the form that sRGB has: a power above a line."""
    if tag[:4] != b"para" or struct.unpack_from(">H", tag, 8)[0] not in {3, 4}:
        raise ValueError("not a curve of that form")
    gamma, a, b, c, d, *rest = (value / 65536 for value in struct.unpack_from(f">{(len(tag) - 12) // 4}i", tag, 12))
    e, f = (*rest[:2], 0.0, 0.0)[:2] if struct.unpack_from(">H", tag, 8)[0] == 4 else (0.0, 0.0)
    return lambda share: max(a * share + b, 0.0) ** gamma + e if share >= d else c * share + f
