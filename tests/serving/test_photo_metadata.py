"""Removing metadata: the same pixels, the same orientation, nothing else; or no photo."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from orchard.orientation import read_orientation
from serving.photo_metadata import follows_picture, without_metadata

SECRET = b"52.5200N 13.4050E of Anna"
FORMS = [
    ("JPEG", "RGB", {"quality": 90}),
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("JPEG", "L", {"restart_marker_rows": 1}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
]


def picture(mode, side=24):
    noise = np.random.default_rng(5).integers(0, 255, (side, side, 4), np.uint8)
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
    return Image.fromarray(noise, "RGBA").convert("RGB").convert(mode) if mode != "RGBA" else Image.fromarray(noise)


def exif(orientation):
    block = Image.Exif()
    block[0x0112], block[0x010E], block[0x0110] = orientation, SECRET.decode(), "a camera"
    block.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return block


def marked(form, mode, options, orientation=6):
    """A photo with metadata wherever its format has a place for it."""
    more = dict(options)
    if form == "PNG":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_text("Comment", SECRET.decode())
        more["pnginfo"].add_text("Author", SECRET.decode(), zip=True)
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", SECRET.decode())
    else:
        more["comment"] = SECRET
    body = io.BytesIO()
    picture(mode).save(body, form, exif=exif(orientation), **more)
    return body.getvalue()


def pixels(body):
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(body)) as opened:
        return opened.mode, opened.getpalette(), np.asarray(opened).tobytes()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("form", "mode", "options"), FORMS)
def test_pixels_and_orientation_stay_and_nothing_else(form, mode, options, orientation):
    whole = marked(form, mode, options, orientation)
    body = whole + SECRET
    clean = without_metadata(body)

    assert pixels(clean) == pixels(body)
    assert read_orientation(clean) == read_orientation(body) == orientation
    with Image.open(io.BytesIO(clean)) as opened:
        assert dict(opened.getexif()) == ({} if orientation == 1 else {0x0112: orientation})
        assert not {"comment", "Comment", "Author", "XML:com.adobe.xmp", "xmp", "photoshop"} & set(opened.info)
    assert SECRET not in clean
    assert without_metadata(clean) == clean
    assert (follows_picture(whole), follows_picture(body)) == (b"", SECRET)


def segment(marker, content):
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def test_every_segment_of_a_jpeg_that_may_name_somebody_goes():
    body = marked("JPEG", "RGB", {})
    names = [b"JFXX\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0", b"MPF\0", b"FPXR\0", b""]
    extra = b"".join(segment(0xE0 + number, name + SECRET) for number in range(16) for name in names)
    clean = without_metadata(body[:2] + extra + body[2:])

    assert SECRET not in clean
    assert pixels(clean) == pixels(body)


def test_a_thumbnail_in_the_first_segment_goes():
    body = marked("JPEG", "RGB", {}, 1)
    (size,) = struct.unpack(">H", body[4:6])
    assert body[6:11] == b"JFIF\0"
    thumbnail = body[6:18] + bytes((2, 2)) + b"thumbnail..."
    clean = without_metadata(body[:2] + segment(0xE0, thumbnail) + body[4 + size :])

    assert b"thumbnail" not in clean
    assert pixels(clean) == pixels(body)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_colour_profile_stays(form):
    from PIL import ImageCms

    body = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture("RGB").save(body, form, icc_profile=profile)
    with Image.open(io.BytesIO(without_metadata(body.getvalue()))) as opened:
        assert opened.info["icc_profile"] == profile


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


BODIES = [marked(*form) for form in FORMS]
JPEG_BODY, PNG_BODY = marked("JPEG", "RGB", {}), marked("PNG", "RGB", {})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"<svg onload='alert(1)'/>",
        JPEG_BODY[:-2],
        JPEG_BODY[:100],
        JPEG_BODY[:2] + b"garbage" + JPEG_BODY[2:],
        JPEG_BODY[:2] + segment(0xF7, SECRET) + JPEG_BODY[2:],
        b"\xff\xd8\xff\xd9\0\0\0\0",
        PNG_BODY[:-12],
        PNG_BODY[:8] + chunk(b"IEND", b""),
        PNG_BODY[:33] + chunk(b"SECR", SECRET) + PNG_BODY[33:],
        PNG_BODY[:33] + chunk(b"IHDR", SECRET) + PNG_BODY[33:],
    ],
)
def test_what_cannot_be_followed_to_its_end_is_no_photo(body):
    assert without_metadata(body) is None
    assert follows_picture(body) == body


@given(
    st.sampled_from(BODIES), st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=0, max_size=6)), max_size=4)
)
def test_any_damage_gives_the_same_pixels_or_no_photo(body, damage):
    body = bytearray(body)
    for place, content in damage:
        at = place % len(body)
        body[at : at + len(content)] = content
    same_or_nothing(bytes(body))


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=300))
def test_any_bytes_give_the_same_pixels_or_no_photo(begin, body):
    same_or_nothing(begin + body)


def same_or_nothing(body):
    clean = without_metadata(body)
    if clean is None:
        return
    assert without_metadata(clean) == clean
    try:
        before = pixels(body)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # no decoder made a prediction of it
    assert pixels(clean) == before
    assert read_orientation(clean) == read_orientation(body)
