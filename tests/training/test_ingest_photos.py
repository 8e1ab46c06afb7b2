"""One file → a photo or a rejection. TensorFlow must decode a stored photo to the same pixels as Pillow."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import drawn_profiles, photo_files
from training.data.ingest.decode import inspect
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules, SideLimits

RULES = SchemaRules()
PICTURE = photo_files.photo(number=9).crop((0, 0, 100, 77))


def transparent(picture: Image.Image, *, alpha: int) -> Image.Image:
    layer = picture.convert("RGBA")
    layer.putpixel((3, 4), (10, 20, 30, alpha))
    return layer


UNCHANGED = {
    "colour JPEG": photo_files.encoded(PICTURE),
    "JPEG without subsampling": photo_files.encoded(PICTURE, subsampling=0),
    "progressive JPEG": photo_files.encoded(PICTURE, progressive=True),
    "grey JPEG": photo_files.encoded(PICTURE.convert("L")),
    "JPEG with bytes behind its end": photo_files.encoded(PICTURE) + b"a phone's trailer",
    "JPEG with a second picture behind it": photo_files.encoded(
        PICTURE, "MPO", save_all=True, append_images=[PICTURE.rotate(90)]
    ),
    "JPEG with broken EXIF": photo_files.encoded(PICTURE, exif=b"Exif\0\0II*\0\xff\xff\xff"),
    "JPEG that says it is upright": photo_files.rotated(orientation=1),
    "colour PNG": photo_files.encoded(PICTURE, "PNG"),
    "palette PNG": photo_files.encoded(PICTURE.convert("P", palette=Image.Palette.ADAPTIVE, colors=12), "PNG", bits=4),
    "black and white PNG": photo_files.encoded(PICTURE.convert("1"), "PNG"),
    "grey PNG": photo_files.encoded(PICTURE.convert("L"), "PNG"),
    "16-bit colour PNG": photo_files.png16(colour=True),
    "PNG with opaque alpha": photo_files.encoded(transparent(PICTURE, alpha=255), "PNG"),
}

CONVERTED = {
    "EXIF-rotated WebP": (
        photo_files.encoded(PICTURE, "WEBP", exif=Image.open(io.BytesIO(photo_files.rotated())).getexif()),
        "turned upright",
    ),
    "transparent WebP": (
        photo_files.encoded(transparent(PICTURE, alpha=0), "WEBP", lossless=True),
        "transparency put on white",
    ),
    "GIF": (photo_files.encoded(PICTURE.convert("P"), "GIF"), "GIF written as PNG"),
    "BMP": (photo_files.encoded(PICTURE, "BMP"), "BMP written as PNG"),
    "WebP": (photo_files.encoded(PICTURE, "WEBP"), "WEBP written as PNG"),
    "AVIF": (photo_files.encoded(PICTURE, "AVIF", speed=10), "AVIF written as PNG"),
    "HEIC": (photo_files.heic(PICTURE), "HEIF written as PNG"),
    "animated GIF": (photo_files.animated(), "first picture of an animation, GIF written as PNG"),
    "animated PNG": (
        photo_files.encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(9)]),
        "first picture of an animation",
    ),
    "animated WebP": (
        photo_files.encoded(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(9)]),
        "first picture of an animation, WEBP written as PNG",
    ),
    "wide PNG": (photo_files.encoded(PICTURE, "PNG", icc_profile=drawn_profiles.P3), "Display P3 converted to sRGB"),
    "wide JPEG": (
        photo_files.encoded(PICTURE, icc_profile=drawn_profiles.ADOBE),
        "Adobe RGB converted to sRGB, JPEG written as PNG",
    ),
    "CMYK TIFF": (photo_files.encoded(PICTURE.convert("CMYK"), "TIFF"), "TIFF written as PNG"),
    "16-bit TIFF": (photo_files.encoded(Image.new("I;16", (50, 40), 51_000), "TIFF"), "16 bits reduced to 8"),
}

REJECTED = {
    "a text named .jpg": (b"This is not a photo.\n" * 40, RejectionReason.NOT_AN_IMAGE),
    "nothing": (b"", RejectionReason.EMPTY),
    "a HEIC without content": (b"\0\0\0\x18ftypheic" + b"\0" * 60, RejectionReason.NOT_AN_IMAGE),
    "half a JPEG": (photo_files.truncated(), RejectionReason.TRUNCATED),
    "JPEG without its end": (photo_files.encoded(PICTURE)[:-2], RejectionReason.TRUNCATED),
    "half a PNG": (UNCHANGED["colour PNG"][:900], RejectionReason.TRUNCATED),
    "PNG without its end": (UNCHANGED["colour PNG"][:-12], RejectionReason.TRUNCATED),
    "PNG with a flipped checksum": (UNCHANGED["colour PNG"][:-1] + b"\0", RejectionReason.DAMAGED),
    "a decompression bomb": (photo_files.bomb(), RejectionReason.BOMB),
    "a TIFF of two pages": (
        photo_files.encoded(PICTURE, "TIFF", save_all=True, append_images=[PICTURE.rotate(9)]),
        RejectionReason.PAGES,
    ),
    "pixels in floating point": (photo_files.encoded(PICTURE.convert("F"), "TIFF"), RejectionReason.MODE),
    "a thumbnail": (photo_files.jpeg(side=31), RejectionReason.TOO_SMALL),
}


def tensorflow_pixels(body: bytes) -> np.ndarray:
    import tensorflow as tf

    return tf.io.decode_jpeg(body, channels=3, dct_method="INTEGER_ACCURATE").numpy()


def pillow_pixels(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))


@pytest.mark.parametrize("body", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_good_photo_keeps_its_bytes_and_tensorflow_sees_what_pillow_sees(body):
    photo = inspect(body, RULES)

    assert photo.body == body
    assert photo.changed == ""
    assert photo.sha256 == hashlib.sha256(body).hexdigest()
    np.testing.assert_array_equal(tensorflow_pixels(body), pillow_pixels(body))
    assert pillow_pixels(body).shape == (photo.height, photo.width, 3)


@pytest.mark.parametrize(("body", "what"), CONVERTED.values(), ids=CONVERTED.keys())
def test_photo_that_other_decoders_see_differently_is_encoded_again_and_reported(body, what):
    photo = inspect(body, RULES)

    assert what in photo.changed
    assert photo.body != body
    np.testing.assert_array_equal(tensorflow_pixels(photo.body), pillow_pixels(photo.body))
    again = inspect(photo.body, RULES)
    assert (again.body, again.changed) == (photo.body, "")
    assert (again.width, again.height) == (photo.width, photo.height)


@pytest.mark.parametrize(("body", "reason"), REJECTED.values(), ids=REJECTED.keys())
def test_bad_file_is_rejected_with_its_reason(body, reason):
    with pytest.raises(PhotoRejected) as refused:
        inspect(body, RULES)

    assert refused.value.reason is reason
    assert len(refused.value.detail) > 10 or reason is RejectionReason.TRUNCATED


def test_rotated_phone_photo_is_stored_upright():
    body = photo_files.encoded(
        PICTURE, "WEBP", lossless=True, exif=Image.open(io.BytesIO(photo_files.rotated())).getexif()
    )

    turned = inspect(body, RULES)

    assert (turned.width, turned.height) == (77, 100)
    np.testing.assert_array_equal(pillow_pixels(turned.body), np.rot90(np.asarray(PICTURE), -1))


def test_photo_that_the_served_model_turns_itself_keeps_its_bytes():
    body = photo_files.rotated(orientation=6)

    turned = inspect(body, RULES)

    assert (turned.width, turned.height, turned.changed) == (80, 100, "")
    assert turned.body == body
    upright = photo_files.encoded(Image.fromarray(np.ascontiguousarray(np.rot90(pillow_pixels(body), -1))), "PNG")
    assert turned.pixels_sha256 == inspect(upright, RULES).pixels_sha256


def test_what_was_transparent_becomes_white():
    stored = pillow_pixels(inspect(CONVERTED["transparent WebP"][0], RULES).body)

    assert stored[4, 3].tolist() == [255, 255, 255]
    assert stored[40, 50].tolist() == np.asarray(PICTURE)[40, 50].tolist()


def test_sixteen_bits_keep_their_upper_half():
    stored = inspect(photo_files.png16(), RULES)
    upper = np.array([(column * 997 % 65536) >> 8 for column in range(64)], np.uint8)

    expected = photo_files.encoded(Image.fromarray(np.tile(upper, (64, 1))), "PNG")
    assert stored.pixels_sha256 == inspect(expected, RULES).pixels_sha256


def test_equal_pictures_in_different_files_have_one_digest():
    png = inspect(photo_files.encoded(PICTURE, "PNG"), RULES)
    bmp = inspect(photo_files.encoded(PICTURE, "BMP"), RULES)
    other = inspect(photo_files.encoded(PICTURE.rotate(180), "PNG"), RULES)
    wide = inspect(photo_files.encoded(Image.new("RGB", (80, 40)), "PNG"), RULES)
    high = inspect(photo_files.encoded(Image.new("RGB", (40, 80)), "PNG"), RULES)

    assert png.pixels_sha256 == bmp.pixels_sha256
    assert len({png.pixels_sha256, other.pixels_sha256, wide.pixels_sha256, high.pixels_sha256}) == 4


def test_limits_come_from_the_schema():
    body = photo_files.jpeg(side=100)

    assert inspect(body, SchemaRules(side=SideLimits(min=100, max=100), pixels=10_000)).width == 100
    for rules, reason in (
        (SchemaRules(side=SideLimits(min=101)), RejectionReason.TOO_SMALL),
        (SchemaRules(side=SideLimits(max=99)), RejectionReason.TOO_LARGE),
        (SchemaRules(pixels=9_999), RejectionReason.BOMB),
    ):
        with pytest.raises(PhotoRejected) as refused:
            inspect(body, rules)
        assert refused.value.reason is reason


def test_damage_that_pillow_ignores_is_found():
    body = bytearray(photo_files.jpeg(number=3))
    scan = body.rindex(b"\xff\xda") + 14
    passed = damaged = 0
    for at in range(scan, len(body) - 2, 7):
        flipped = bytearray(body)
        flipped[at] ^= 0x10
        try:
            pillow_pixels(bytes(flipped))
        except OSError:
            continue
        passed += 1
        try:
            inspect(bytes(flipped), RULES)
        except PhotoRejected as error:
            damaged += error.reason is RejectionReason.DAMAGED
    assert passed > 100
    assert damaged > 20


BODIES = [*UNCHANGED.values(), *(body for body, _ in CONVERTED.values())]


@settings(max_examples=300, deadline=None)
@given(
    body=st.sampled_from(BODIES),
    flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=3),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
@pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL", "ignore:Corrupt EXIF:UserWarning", "ignore:Truncated File:UserWarning"
)
def test_no_damage_crashes_it_and_tensorflow_reads_every_stored_photo_alike(body, flips, kept):
    damaged = bytearray(body)
    for where, value in flips:
        damaged[int(where * len(damaged))] = value
    damaged = damaged[: int(kept * len(damaged))]
    try:
        photo = inspect(bytes(damaged), RULES)
    except PhotoRejected:
        return
    np.testing.assert_array_equal(tensorflow_pixels(photo.body), pillow_pixels(photo.body))
