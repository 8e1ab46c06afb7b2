"""Colour profiles that tests write themselves: RGB and grey by primaries and curve, and a printer's inks by a table."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

__all__ = ["ADOBE", "GREY_GAMMA", "INKS", "P3", "PROPHOTO", "SRGB", "SRGB_TABLE", "grey_profile", "rgb_profile"]

D65 = (0.3127, 0.3290)
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _curve(gamma: float | Sequence[float] | None) -> bytes:
    if gamma is None:  # as the first profiles of sRGB had it: a table
        shares = np.linspace(0, 1, 1024)
        light = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(light * 65535).round().astype(int))
    if isinstance(gamma, float):
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(*gamma)


def _text(text: str) -> bytes:
    body = text.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(body)) + body + bytes(78)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    at = 132 + 12 * len(tags)
    directory, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        tag += bytes(-len(tag) % 4)
        directory += struct.pack(">4sII", name, at + len(data), len(tag))
        data += tag
    size = at + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*D50) + bytes(48)
    return head + directory + data


def _above(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def rgb_profile(
    primaries: Sequence[tuple[float, float]],
    gamma: float | Sequence[float] | None,
    *,
    white: tuple[float, float] = D65,
    name: str = "drawn",
) -> bytes:
    """A profile of RGB by the chromaticities of its primaries, its white, and a gamma or the formula of its curve."""
    matrix = np.stack([_above(*primary) for primary in primaries], axis=1)
    matrix = matrix * np.linalg.solve(matrix, _above(*white))
    cones = BRADFORD @ _above(*white)
    matrix = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / cones) @ BRADFORD @ matrix
    tags = {b"desc": _text(name), b"wtpt": _xyz(*D50), b"cprt": b"text\0\0\0\0none\0"}
    tags |= {key: _xyz(*matrix[:, place]) for place, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= {key: _curve(gamma) for key in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float, name: str = "grey") -> bytes:
    """A profile of grey with a gamma."""
    tags = {b"desc": _text(name), b"wtpt": _xyz(*D50), b"cprt": b"text\0\0\0\0none\0", b"kTRC": _curve(gamma)}
    return _profile(b"mntr", b"GRAY", b"XYZ ", tags)


def _ink_profile() -> bytes:
    """A printer whose inks are not pure: their sixteen mixtures in Lab, and a straight line between them."""
    corners = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T
    cyan, magenta, yellow, black = corners.T
    lightness = 100 - 45 * cyan - 52 * magenta - 11 * yellow - 84 * black
    lab = np.stack([lightness, 74 * magenta - 37 * cyan, 93 * yellow - 50 * cyan - 5 * magenta], axis=1).astype(float)
    lab[:, 0] = lab[:, 0].clip(0, 100)
    lab[:, 1:] *= (1 - 0.9 * black)[:, None]
    table = np.stack([lab[:, 0] * 2.55, lab[:, 1] + 128, lab[:, 2] + 128], axis=1).round().clip(0, 255).astype(np.uint8)
    line = bytes(range(256))
    lut = (
        b"mft1\0\0\0\0"
        + bytes([4, 3, 2, 0])
        + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
        + line * 4
        + table.tobytes()
        + line * 3
    )
    tags = {b"desc": _text("drawn inks"), b"wtpt": _xyz(*D50), b"cprt": b"text\0\0\0\0none\0", b"A2B0": lut}
    return _profile(b"prtr", b"CMYK", b"Lab ", tags)


REC709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB = rgb_profile(REC709, SRGB_CURVE, name="sRGB drawn")
SRGB_TABLE = rgb_profile(REC709, None, name="another name")
P3 = rgb_profile(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), SRGB_CURVE, name="Display P3")
ADOBE = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.19921875, name="Adobe RGB")
PROPHOTO = rgb_profile(
    ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), 1.8, white=(0.3457, 0.3585), name="ProPhoto"
)
GREY_GAMMA = grey_profile(1.8, "Grey 1.8")
INKS = _ink_profile()
