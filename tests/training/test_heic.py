"""HEIC, an iPhone's format: turned exactly once, further pictures ignored, limits before pixels, and no encoder shipped."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from orchard.orientation import ORIENTATION, turn
from tests import drawn_profiles, photo_files
from training.data.ingest import decode
from training.data.ingest.decode import inspect
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules

RULES = SchemaRules()


def quarters():
    pixels = np.full((64, 96, 3), 220, np.uint8)
    pixels[:32, :48], pixels[:32, 48:], pixels[32:, :48] = (200, 30, 30), (30, 200, 30), (30, 30, 200)
    return pixels


def turned(form, orientation):
    tags, picture = Image.Exif(), Image.fromarray(quarters())
    tags[ORIENTATION] = orientation
    if form == "HEIF":
        return photo_files.heic(picture, exif=tags.tobytes())
    return photo_files.encoded(picture, form, exif=tags, quality=95, speed=10, subsampling="4:4:4")


def pixels_of(photo):
    return np.asarray(Image.open(io.BytesIO(photo.body)).convert("RGB"), np.int16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_photo_is_turned_exactly_once(form, orientation):
    photo = inspect(turned(form, orientation), RULES)

    np.testing.assert_allclose(pixels_of(photo), turn(quarters(), orientation), atol=4)


def test_only_the_container_turns_a_photo_and_not_its_exif_or_xmp():
    lying = turned("HEIF", 6)
    assert lying.count(b"irot\x03") == 1
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    picture = Image.fromarray(quarters())
    bodies = [
        lying.replace(b"irot\x03", b"irot\x00"),
        photo_files.encoded(picture, "AVIF", xmp=xmp, quality=95, speed=10, subsampling="4:4:4"),
    ]

    for body in bodies:
        np.testing.assert_allclose(pixels_of(inspect(body, RULES)), quarters(), atol=4)


def test_photo_of_a_phone_with_tiles_a_burst_a_thumbnail_and_wide_colours(monkeypatch):
    monkeypatch.setattr(decode, "LARGE", 20_000)
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    picture = Image.fromarray(np.kron(quarters(), np.ones((3, 2, 1), np.uint8)))
    burst = pillow_heif.from_pillow(Image.new("RGB", (70, 64), "white"))
    body = photo_files.heic(
        picture,
        tile_size=64,
        exif=tags.tobytes(),
        icc_profile=drawn_profiles.P3,
        append_images=list(burst),
        thumbnails=[48],
    )

    photo = inspect(body, RULES)

    assert photo.changed == "Display P3 converted to sRGB, HEIF written as JPEG"
    assert (photo.width, photo.height) == (picture.height, picture.width)
    assert Image.open(io.BytesIO(photo.body)).info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    pixels = pixels_of(photo)
    assert (
        pixels[40, -40, 0] > 200 > 60 > pixels[40, -40, 1]
    )  # the red quarter, upper left, is upper right after the turn
    assert inspect(photo.body, RULES).body == photo.body


def test_size_limits_apply_before_pixels_are_decoded(monkeypatch):
    body = photo_files.heic(photo_files.photo(side=100))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))

    for rules, reason in (
        (SchemaRules(pixels=9_999), RejectionReason.BOMB),
        (SchemaRules(full_size=9_999), RejectionReason.TOO_LARGE),
    ):
        with pytest.raises(PhotoRejected) as refused:
            inspect(body, rules)
        assert refused.value.reason is reason


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_half_a_file_is_refused(kept):
    body = photo_files.heic(photo_files.photo(side=100))

    with pytest.raises(PhotoRejected):
        inspect(body[: int(len(body) * kept)], RULES)


def test_without_its_package_the_refusal_says_what_to_install():
    script = (
        "import sys; sys.modules['pi_heif'] = None\n"
        "from training.data.ingest.decode import inspect\n"
        "from training.data.schema import SchemaRules\n"
        "inspect(sys.stdin.buffer.read(), SchemaRules())"
    )
    body = photo_files.heic(photo_files.photo(side=64))

    done = subprocess.run([sys.executable, "-c", script], input=body, capture_output=True, timeout=240, check=False)

    assert b"HEIC needs the package pi-heif-decoder, which is not installed: " in done.stderr
    assert b"or export it as JPEG" in done.stderr


def test_what_is_shipped_can_only_decode():
    import pi_heif

    libraries = pi_heif.libheif_info()

    assert set(libraries["encoders"]) <= {"mask"}, "x265 is GPL: it must not be in the images"
    assert "libde265" in libraries["decoders"]
