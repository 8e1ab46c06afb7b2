"""Decodes one file to one photo, or rejects it with a reason.

A stored photo must decode to the same pixels in Pillow, in libjpeg-turbo and in TensorFlow with
`dct_method="INTEGER_ACCURATE"`. JPEG (grey, colour) and PNG (1 to 16 bits in colour, palettes, opaque alpha) do, as
tests/training/test_ingest_photos.py shows, so their bytes are stored unchanged. Every other file that Pillow reads is
encoded again, once, and reported: it is turned upright, put on white and converted to 8-bit RGB. A JPEG stays a JPEG
(quality 95, no chroma subsampling); all others become PNG, which is lossless.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass

import simplejpeg
from PIL import Image, ImageOps

from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules

__all__ = ["DecodedPhoto", "inspect"]

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
JPEG = {"JPEG", "MPO"}  # MPO: a phone's JPEG with a second picture after the first, which every decoder ignores
KEPT_MODES = {"1", "L", "P", "RGB", "LA", "RGBA", "PA"}
TURNED_MODES = {"CMYK", "YCbCr"}
ORIENTATION = 0x0112
SIGNATURE = b"\x89PNG\r\n\x1a\n"

Image.init()  # registers all formats before the first thread needs them
Image.MAX_IMAGE_PIXELS = None  # `_check_size` checks the schema's limit before any pixel is decoded


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """A photo that may be stored.

    Attributes:
        body: the bytes to store.
        sha256: hex, of `body`.
        pixels_sha256: hex, of the original upright RGB pixels, with width and height.
        width: pixels, upright.
        height: pixels, upright.
        changed: how the bytes were changed; empty: they are unchanged.
    """

    body: bytes
    sha256: str
    pixels_sha256: str
    width: int
    height: int
    changed: str


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
        if image.format in JPEG and image.mode in {"L", "RGB"} and _orientation(image) == 1:
            return _unchanged(body, image)
        return _converted(body, image)
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
        if body[4:8] == b"ftyp":
            raise PhotoRejected(
                RejectionReason.NOT_AN_IMAGE, "HEIC or AVIF, which is not supported: export it as JPEG"
            ) from error
        detail = f"Pillow recognises none of {', '.join(FORMATS)}; it begins with {body[:8]!r}"
        raise PhotoRejected(RejectionReason.NOT_AN_IMAGE, detail) from error


def _broken(error: Exception) -> PhotoRejected:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return PhotoRejected(RejectionReason.TRUNCATED if "truncated" in text else RejectionReason.DAMAGED, text)


def _check_size(image: Image.Image, rules: SchemaRules) -> None:
    width, height = image.size
    if width * height > rules.pixels:
        raise PhotoRejected(
            RejectionReason.BOMB, f"{width}×{height} pixels, more than {rules.pixels}; it was not decoded"
        )
    if min(width, height) < rules.side.min:
        raise PhotoRejected(
            RejectionReason.TOO_SMALL, f"{width}×{height} pixels; each side must have at least {rules.side.min}"
        )
    if max(width, height) > rules.side.max:
        raise PhotoRejected(
            RejectionReason.TOO_LARGE, f"{width}×{height} pixels; no side may have more than {rules.side.max}"
        )
    # an MPO's further pictures are not an animation
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise PhotoRejected(
            RejectionReason.ANIMATED, f"{getattr(image, 'n_frames', 2)} pictures in one file; save one of them"
        )


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _digest(width: int, height: int, pixels: bytes | memoryview) -> str:
    digest = hashlib.sha256(b"%d %d " % (width, height))
    digest.update(pixels)
    return digest.hexdigest()


def _photo(body: bytes, size: tuple[int, int], pixels: bytes | memoryview, changed: str = "") -> DecodedPhoto:
    width, height = size
    return DecodedPhoto(body, hashlib.sha256(body).hexdigest(), _digest(width, height, pixels), width, height, changed)


def _unchanged(body: bytes, image: Image.Image) -> DecodedPhoto:
    """Check a plain JPEG, the common case. Strict libjpeg-turbo finds damage that Pillow ignores; sound files decode alike."""
    _check_jpeg(body)
    try:
        pixels = simplejpeg.decode_jpeg(body, strict=True)
    except ValueError as error:
        image.load()  # Pillow's error is clearer, if it raises one
        text = str(error).strip()
        raise PhotoRejected(
            RejectionReason.DAMAGED, f"{text}; if it looks right, save it again with a photo program"
        ) from error
    return _photo(body, image.size, pixels.data)


def _converted(body: bytes, image: Image.Image) -> DecodedPhoto:
    """Decode any other file with Pillow; encode it again where other decoders would give other pixels."""
    form = image.format
    if form in JPEG and image.mode in {"L", "RGB"}:
        _unchanged(body, image)  # the same strict check for one that is turned upright
    if form == "PNG":
        _check_png(body)
    image.load()
    changed = []
    upright = image
    if _orientation(image) != 1:
        upright = ImageOps.exif_transpose(image)
        changed.append("turned upright as its EXIF says")
    picture, change = _in_rgb(upright)
    changed += [change] if change else []
    if form not in JPEG | {"PNG"}:
        changed.append(f"{form} written as PNG")
    pixels = picture.tobytes()
    if not changed:
        return _photo(body, picture.size, pixels)
    fresh = io.BytesIO()
    if form in JPEG:
        picture.save(fresh, "JPEG", quality=95, subsampling=0)
    else:
        picture.save(fresh, "PNG")
    return _photo(fresh.getvalue(), picture.size, pixels, ", ".join(changed))


def _in_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return the picture in 8-bit RGB, and how it was changed so that all decoders give the same pixels."""
    if image.mode in KEPT_MODES:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            if layer.getchannel("A").getextrema() != (255, 255):
                white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
                return Image.alpha_composite(white, layer).convert("RGB"), "transparency put on white"
        return image.convert("RGB"), ""
    if image.mode in TURNED_MODES:
        return image.convert("RGB"), f"{image.mode} converted to RGB"
    if image.mode.startswith("I;16"):
        high = Image.frombytes("L", image.size, image.convert("I;16").tobytes()[1::2])  # little-endian: the upper bytes
        return high.convert("RGB"), "16 bits reduced to 8"
    raise PhotoRejected(
        RejectionReason.MODE, f"pixels are {image.mode!r}; expected 8 or 16 bits of grey, palette, RGB or CMYK"
    )


def _check_jpeg(body: bytes) -> None:
    """Check the frame header: only some decoders read arithmetic coding and lossless JPEG."""
    at = 2
    while at + 4 <= len(body) and body[at] == 0xFF:
        marker, size = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        if marker in {0xC0, 0xC1, 0xC2}:
            return
        if 0xC3 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            raise PhotoRejected(
                RejectionReason.MODE, f"a JPEG of the rare kind SOF{marker - 0xC0}; save it again as an ordinary JPEG"
            )
        at += 1 if marker == 0xFF else 2 + size  # 0xFF may be repeated as padding


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
