"""Colour profiles: photos in other colours than sRGB are converted once, by ICC, with littleCMS.

Without it, a red of Display P3 (an iPhone's photos), Adobe RGB or a printer's inks would be stored as another, duller red.
A profile that shows all colours as sRGB does, within `SAME` levels, changes nothing: its photo keeps its bytes. What
counts are the colours, not the profile's name. A profile that is damaged, or is for another kind of pixels than the
photo's, is ignored, as browsers and Pillow do: the pixels count as sRGB, and the report notes it.

HEIC and AVIF may name their primaries by a number (nclx) instead: those of Display P3 and BT.2020 are converted too.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from PIL import Image, ImageCms

from orchard.icc_profiles import MAX_PROFILE, is_srgb
from training.data.ingest.conversion import Levels
from training.data.rejections import PhotoRejected, RejectionReason, readable

__all__ = ["SAME", "ProfileEffect", "profile_effect"]

SAME = 2
"""Levels of 255: colours that differ by no more are the same."""

GRID = 9
SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The colour space of a profile → the mode of the pixels that it describes."""

CODED = {"HEIF", "AVIF"}
HEAD = 1 << 16
HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273; all others count as that of sRGB, as in browsers."""

COLOURANTS = (b"rXYZ", b"gXYZ", b"bXYZ")
WIDE = {
    9: ("BT.2020", ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686))),
    12: ("Display P3", ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))),
}
"""Primaries of H.273 that are wider than those of sRGB: the name, and each adapted to D50."""

CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True, slots=True)
class ProfileEffect:
    """What a profile does to a photo.

    Attributes:
        change: for people; empty: the photo has no profile, or one that changes nothing.
        mode: the mode of the pixels that `transform` takes.
        transform: converts pixels to sRGB; None: they are sRGB.
        problem: why the profile is ignored; empty: it is not.
    """

    change: str = ""
    mode: str = "RGB"
    transform: ImageCms.ImageCmsTransform | None = None
    problem: str = ""

    def convert(self, image: Image.Image, pixels: Levels) -> Levels:
        """Convert a photo to sRGB.

        Args:
            image: the loaded source, for its inks.
            pixels: uint8[H, W, 3], the source as RGB, transparency on white.

        Returns:
            uint8[H, W, 3].
        """
        if self.transform is None:
            return pixels
        source = image if self.mode == "CMYK" else Image.fromarray(pixels[..., 0] if self.mode == "L" else pixels)
        return np.asarray(ImageCms.applyTransform(source, self.transform))


def profile_effect(image: Image.Image, body: bytes) -> ProfileEffect:
    """Read the profile of an opened picture, or the numbers that HEIC and AVIF may have instead.

    Raises:
        PhotoRejected: its values are those of a brighter screen (HDR).
    """
    profile = image.info.get("icc_profile") or (_coded_profile(image, body) if image.format in CODED else None)
    if not isinstance(profile, bytes):
        return ProfileEffect()
    if image.mode == "CMYK":
        return _read(profile, "CMYK")
    is_grey = image.mode in {"1", "L", "LA"} or image.mode.startswith("I;16")
    return _read(profile, "L" if is_grey else "RGB")


def _coded_profile(image: Image.Image, body: bytes) -> bytes | None:
    """The profile that the numbers of a HEIC or AVIF stand for; None: they are those of sRGB, or there are none."""
    at = body.find(b"colrnclx", 0, HEAD)  # of the picture itself: it comes first
    primaries, curve = struct.unpack_from(">HH", body, at + 8) if at >= 0 else (1, 1)
    if curve in HDR:
        raise PhotoRejected(
            RejectionReason.MODE, f"its values are for HDR screens ({HDR[curve]}); export it as JPEG for common screens"
        )
    if primaries not in WIDE:
        return None
    name, colourants = WIDE[primaries]
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + bytes(79)
    tags = {b"desc": text + bytes(-len(text) % 4)}
    tags |= {key: b"XYZ \0\0\0\0" + _fixed(*values) for key, values in zip(COLOURANTS, colourants, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"para" + bytes(4) + b"\0\3\0\0" + _fixed(*CURVE))
    places = accumulate((len(tag) for tag in tags.values()), initial=132 + 12 * len(tags))
    entries = [
        struct.pack(">4sII", key, place, len(tag)) for (key, tag), place in zip(tags.items(), places, strict=False)
    ]
    rest = struct.pack(">I", len(tags)) + b"".join(entries) + b"".join(tags.values())
    head = struct.pack(">I4sI4s4s4s", 128 + len(rest), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    return head + bytes(12) + b"acsp" + bytes(28) + _fixed(0.9642, 1, 0.8249) + bytes(48) + rest


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


@lru_cache(maxsize=32)
def _read(profile: bytes, mode: str) -> ProfileEffect:
    """The effect of a profile on pixels of a mode; the photos of a camera have all the same few profiles."""
    if mode != "CMYK" and is_srgb(profile):
        return ProfileEffect()
    if len(profile) > MAX_PROFILE:
        return ProfileEffect(problem="its colour profile is too large: its pixels count as sRGB")
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        taken = SPACES.get(space, "")
        if taken != mode and (taken, mode) != ("RGB", "L"):  # a grey photo may have the profile of a colour camera
            text = f"its colour profile is for {readable(space)}, its pixels are not: they count as sRGB"
            return ProfileEffect(problem=text)
        transform = ImageCms.buildTransform(opened, SRGB, taken, "RGB", ImageCms.Intent.PERCEPTUAL)
        name = readable(" ".join(ImageCms.getProfileDescription(opened).split("\0")[0].split()))[:40] or "its profile"
        same = taken != "CMYK" and _is_identity(transform, taken)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return ProfileEffect(problem="its colour profile is damaged: its pixels count as sRGB")
    return ProfileEffect() if same else ProfileEffect(f"{name} converted to sRGB", taken, transform)


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform leaves a grid of all colours, and all greys, as they are."""
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    steps = np.linspace(0, 255, GRID).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    before = greys if mode == "L" else np.concatenate([greys, colours])
    picture = Image.fromarray(before[None, :, 0] if mode == "L" else before[None])
    after = np.asarray(ImageCms.applyTransform(picture, transform))[0]
    return bool((abs(after.astype(np.int16) - before) <= SAME).all())
