"""Decodes one file to one photo, or rejects it with a reason.

The served model decodes JPEG and PNG itself: it turns them upright, puts transparency on white and converts grey, CMYK and
16 bits to 8-bit RGB (`training.model.preprocessing`). Pillow gives the same pixels, as tests/training/test_one_decoding.py
shows, so the bytes of these files are stored unchanged and nothing is lost. Every other file that Pillow reads is converted
once and reported, and the digest of the original is kept: HEIC, AVIF, WebP, GIF, TIFF and BMP, the first picture of an
animation, and a photo whose colour profile is not sRGB (`training.data.ingest.colours`). The result is compared with its
source (`training.data.ingest.conversion`).

It is written as PNG, which is lossless. Only a photo of more than `LARGE` pixels whose source had lost something already
(JPEG, HEIC, AVIF, lossy WebP) is written as JPEG of quality 95 without subsampling: as PNG, one of 12 megapixels takes
some 20 MB, and much longer to write once and to decode in every training.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image

from orchard.errors import DataError, install_hint
from orchard.icc_profiles import is_animated_png
from orchard.orientation import ORIENTATION, UPRIGHT, read_orientation, turn
from training.data.ingest.colours import profile_effect
from training.data.ingest.conversion import Levels, check_conversion, cmyk_to_rgb, to_rgb
from training.data.ingest.foreign_files import describe, is_heif
from training.data.ingest.jpeg_segments import check_frame, is_progressive, without_harmless_deviations
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules, SideLimits

__all__ = ["DecodedPhoto", "convert", "inspect", "plain_copy"]

HEIF_DECODER = "pi-heif-decoder"
try:
    from pi_heif import register_heif_opener  # type: ignore[attr-defined]
except ImportError:  # an installation without the extra, or a platform without the package
    HEIF: tuple[str, ...] = ()
else:
    HEIF = ("HEIF",)
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as many photos as there are cores are decoded at a time

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", *HEIF)
JPEG = {"JPEG", "MPO"}  # MPO: a phone's JPEG with a second picture after the first, which every decoder ignores
SEVERAL = {"MPO", "HEIF"}
"""Formats whose further pictures are thumbnails, depth or the rest of a burst, and not an animation."""

LOSSY = JPEG | {"HEIF", "AVIF"}
LARGE = 1 << 20
"""Pixels: a converted photo with more, of a lossy source, is written as JPEG."""

PAGE, REDUCED_OR_MASK = 254, 1 | 4
"""The tag of TIFF for a page's kind, and its bits for pages that show another page smaller, or its outline."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RATIOS = (1, 2, 4, 8)
"""The ratios by which libjpeg can shrink a photo while it decodes."""

Image.init()  # registers all formats before the first thread needs them
Image.MAX_IMAGE_PIXELS = None  # `_check_size` checks the schema's limit before any pixel is decoded


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """A photo that may be stored.

    Attributes:
        body: the bytes to store.
        sha256: hex, of `body`.
        pixels_sha256: hex, of the upright RGB pixels, with width and height; scaled down if there are more than
            `full_size` of the schema.
        width: pixels, upright.
        height: pixels, upright.
        changed: how the bytes were changed; empty: they are unchanged.
        original_sha256: hex, of the file; the same as `sha256` if the bytes are unchanged.
        note: what is odd about the file without changing it; empty: nothing.
    """

    body: bytes
    sha256: str
    pixels_sha256: str
    width: int
    height: int
    changed: str
    original_sha256: str
    note: str = ""


def inspect(body: bytes, rules: SchemaRules) -> DecodedPhoto:
    """Decode a whole file in full and check it against the rules for photos.

    Raises:
        PhotoRejected: it is not a valid photo.
    """
    if not body:
        raise PhotoRejected(RejectionReason.EMPTY, "it has no bytes")
    image = _open(body)
    try:
        _check_size(image, rules)
        if image.format in JPEG and image.mode in {"L", "RGB", "CMYK"}:
            return _jpeg(body, image, rules)
        if image.format == "PNG" and not is_animated_png(body):
            return _png(body, image)
        return _converted(body, image, rules)
    except PhotoRejected:
        raise
    except MemoryError as error:
        raise PhotoRejected(RejectionReason.BOMB, "not enough memory to decode it") from error
    except Exception as error:  # a decoder may raise anything on a hostile file; only this file is rejected
        raise _broken(error) from error


def _open(body: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(body), formats=FORMATS)
    except Exception as error:  # as in `inspect`
        reason = RejectionReason.TRUNCATED if body.startswith(b"\xff\xd8") else RejectionReason.NOT_AN_IMAGE
        if is_heif(body) and body[8:11] != b"avi" and not HEIF:
            missing = f"HEIC needs the package {HEIF_DECODER}, which is not installed: {install_hint('training')}"
            raise PhotoRejected(reason, f"{missing}; or export it as JPEG") from error
        raise PhotoRejected(reason, describe(body)) from error


def _broken(error: Exception) -> PhotoRejected:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return PhotoRejected(RejectionReason.TRUNCATED if "truncated" in text else RejectionReason.DAMAGED, text)


def _check_size(image: Image.Image, rules: SchemaRules) -> None:
    width, height = image.size
    if width * height > rules.pixels:
        raise PhotoRejected(
            RejectionReason.BOMB,
            f"{width}×{height} pixels, more than {rules.pixels} (`pixels` in the schema); it was not decoded",
        )
    if min(width, height) < rules.side.min:
        raise PhotoRejected(
            RejectionReason.TOO_SMALL,
            f"{width}×{height} pixels; each side must have at least {rules.side.min} (`side.min` in the schema)",
        )
    if max(width, height) > rules.side.max:
        raise PhotoRejected(
            RejectionReason.TOO_LARGE,
            f"{width}×{height} pixels; no side may have more than {rules.side.max} (`side.max` in the schema)",
        )
    if width * height > rules.full_size and image.format not in JPEG:
        raise PhotoRejected(
            RejectionReason.TOO_LARGE,
            f"{width}×{height} pixels; only a JPEG may have more than {rules.full_size} (`full_size` in the schema), "
            "because it can be decoded smaller: save it as JPEG",
        )


def _choose_picture(image: Image.Image) -> str:
    """Select the picture to take of several; return what to report, empty if there is one.

    The first picture stands for an animation. The pages of a TIFF may be different things: they are not chosen from, apart
    from those that only show another page smaller.
    """
    pictures = 1 if image.format in SEVERAL else getattr(image, "n_frames", 1)
    if pictures == 1:
        return ""
    if image.format != "TIFF":
        return "first picture of an animation"
    pages = []
    for number in range(pictures):
        image.seek(number)
        tags: Any = getattr(image, "tag_v2", {})
        pages += [] if int(tags.get(PAGE, 0)) & REDUCED_OR_MASK else [number]
    if len(pages) > 1:
        raise PhotoRejected(RejectionReason.PAGES, f"{len(pages)} pages in one file; save each as a file of its own")
    image.seek(pages[0] if pages else 0)
    return ""


def _digest(width: int, height: int, pixels: bytes | memoryview) -> str:
    digest = hashlib.sha256(b"%d %d " % (width, height))
    digest.update(pixels)
    return digest.hexdigest()


def _photo(body: bytes, pixels: Levels, *, size: tuple[int, int] | None = None, note: str = "") -> DecodedPhoto:
    """An unchanged photo of upright pixels; `size`: width and height, if the pixels are scaled down."""
    width, height = size or (pixels.shape[1], pixels.shape[0])
    pixels_sha256 = _digest(width, height, np.ascontiguousarray(pixels).data)
    sha256 = hashlib.sha256(body).hexdigest()
    return DecodedPhoto(body, sha256, pixels_sha256, width, height, "", sha256, note)


def _jpeg(body: bytes, image: Image.Image, rules: SchemaRules) -> DecodedPhoto:
    """Check a JPEG, the common case. Its bytes are kept."""
    check_frame(body)
    width, height = image.size
    ratio = min((ratio for ratio in RATIOS if width * height <= rules.full_size * ratio**2), default=RATIOS[-1])
    if ratio > 1 and is_progressive(body):
        raise PhotoRejected(
            RejectionReason.TOO_LARGE,
            f"{width}×{height} pixels; a progressive JPEG cannot be decoded in little memory and may have at most "
            f"{rules.full_size} (`full_size` in the schema): save it without that option",
        )
    pixels = _decode_strictly(body, image, ratio)
    orientation = read_orientation(body)
    effect = profile_effect(image, body)
    if effect.transform is not None:
        halved = [f"at 1/{ratio} of its size"] if ratio > 1 else []
        return _encoded(body, image, turn(effect.convert(image, pixels), orientation), [effect.change, *halved])
    upright = (height, width) if orientation > 4 else (width, height)
    return _photo(body, turn(pixels, orientation), size=upright, note=effect.problem)


def _decode_strictly(body: bytes, image: Image.Image, ratio: int) -> Levels:
    """Strict libjpeg-turbo finds damage that Pillow ignores; sound files decode alike."""
    least = {"min_height": -(-image.height // ratio), "min_width": -(-image.width // ratio)} if ratio > 1 else {}
    if ratio > 1:
        image.draft(image.mode, (image.width // ratio, image.height // ratio))
    if image.mode == "CMYK":
        image.load()
        return cmyk_to_rgb(np.asarray(image))
    try:
        decoded: Levels = simplejpeg.decode_jpeg(body, strict=True, **least)
    except ValueError as error:
        image.load()  # Pillow's error is clearer, if it raises one
        pixels = np.asarray(image.convert("RGB"))
        if _is_harmless(body, pixels, least):
            return pixels
        text = str(error).strip()
        raise PhotoRejected(
            RejectionReason.DAMAGED, f"{text}; if it looks right, save it again with a photo program"
        ) from error
    return decoded


def _is_harmless(body: bytes, pixels: Levels, least: dict[str, int]) -> bool:
    """Whether only a header deviates from the standard, and the pixels are all right."""
    try:
        return np.array_equal(simplejpeg.decode_jpeg(without_harmless_deviations(body), strict=True, **least), pixels)
    except ValueError:
        return False


def _png(body: bytes, image: Image.Image) -> DecodedPhoto:
    """Check a PNG. Its bytes are kept, for the served model converts it to the same pixels, unless it has a profile."""
    _check_png(body)
    image.load()
    pixels, _ = to_rgb(image)
    check_conversion(image, pixels)
    effect = profile_effect(image, body)
    if effect.transform is not None:
        return _encoded(body, image, turn(effect.convert(image, pixels), read_orientation(body)), [effect.change])
    return _photo(body, turn(pixels, read_orientation(body)), note=effect.problem)


def _converted(body: bytes, image: Image.Image, rules: SchemaRules) -> DecodedPhoto:
    """Convert any other file, upright."""
    if image.format == "PNG":
        _check_png(body)
    changed = [_choose_picture(image)]
    _check_size(image, rules)  # also of a chosen page
    image.load()
    effect = profile_effect(image, body)
    pixels, change = to_rgb(image)
    check_conversion(image, pixels)
    changed += [effect.change or change]
    pixels = effect.convert(image, pixels)
    orientation = _orientation(body, image)
    if orientation != UPRIGHT:
        pixels = turn(pixels, orientation)
        changed.insert(0, "turned upright as its EXIF says")
    return _encoded(body, image, pixels, changed, effect.problem)


def _orientation(body: bytes, image: Image.Image) -> int:
    """How a picture that is no JPEG still has to be turned."""
    if image.format == "PNG":
        return read_orientation(body)
    if image.format in {"HEIF", "AVIF"}:  # Exif has what their decoders found in the container; XMP does not count
        image.info.pop("xmp", None)
    orientation = image.getexif().get(ORIENTATION, UPRIGHT)
    return int(orientation) if orientation in range(2, 9) else UPRIGHT


def _encoded(body: bytes, image: Image.Image, pixels: Levels, changed: Sequence[str], note: str = "") -> DecodedPhoto:
    """Write converted upright pixels as PNG or, if they are many and not lossless anyway, as JPEG."""
    lossy = image.format in LOSSY or (image.format == "WEBP" and b"VP8L" not in body)
    form = "JPEG" if lossy and pixels.shape[0] * pixels.shape[1] > LARGE else "PNG"
    fresh = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    Image.fromarray(np.ascontiguousarray(pixels)).save(fresh, form, **options)
    if form == "JPEG":
        pixels = simplejpeg.decode_jpeg(fresh.getvalue(), strict=True)
    what = [*filter(None, changed), *([f"{image.format} written as {form}"] if image.format != form else [])]
    photo = _photo(fresh.getvalue(), pixels, note=note)
    return replace(photo, changed=", ".join(what), original_sha256=hashlib.sha256(body).hexdigest())


def convert(body: bytes) -> bytes:
    """Return a photo as a served model reads it, for `orchard predict`; the model itself checks the smallest side.

    Raises:
        DataError: it is not a valid photo.
    """
    try:
        return inspect(body, SchemaRules(side=SideLimits(min=1))).body
    except PhotoRejected as rejected:
        raise DataError(f"{rejected.reason}: {rejected.detail}") from rejected


def plain_copy(body: bytes) -> bytes:
    """Return a photo of `inspect` as an upright PNG without transparency, for models exported before graphs did that."""
    with Image.open(io.BytesIO(body)) as image:
        pixels, _ = to_rgb(image)
    fresh = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(turn(pixels, read_orientation(body)))).save(fresh, "PNG")
    return fresh.getvalue()


def _check_png(body: bytes) -> None:
    """Check all chunks and their checksums: TensorFlow rejects damage that Pillow ignores."""
    at = len(SIGNATURE)
    while at + 12 <= len(body):
        size, kind = struct.unpack(">I4s", body[at : at + 8])
        end = at + 12 + size
        if end > len(body):
            break
        if zlib.crc32(body[at + 4 : end - 4]) != struct.unpack(">I", body[end - 4 : end])[0]:
            raise PhotoRejected(RejectionReason.DAMAGED, f"the checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"IEND":
            return
        at = end
    raise PhotoRejected(RejectionReason.TRUNCATED, "its last chunk is missing")
