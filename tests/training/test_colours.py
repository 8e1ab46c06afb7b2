"""Colours that are not sRGB are converted once, to the levels that the definitions of both colour spaces give."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from orchard.icc_profiles import embedded_profile, is_srgb
from tests import drawn_profiles, photo_files
from training.data.ingest import decode
from training.data.ingest.decode import inspect
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules

RULES = SchemaRules()
LITTLE_CMS = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIDE = 40
TO_XYZ = {  # of D65: the definitions' own figures
    "sRGB": [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    "P3": [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0000, 0.0451, 1.0439]],
    "Adobe": [[0.5767, 0.1856, 0.1882], [0.2973, 0.6274, 0.0753], [0.0270, 0.0707, 0.9911]],
}


def light_of(share):
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def level_of(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def expected(colour, space):
    share = np.array(colour) / 255
    light = share**2.19921875 if space == "Adobe" else light_of(share)
    return level_of(np.linalg.solve(TO_XYZ["sRGB"], TO_XYZ[space] @ light))


def stored(body):
    photo = inspect(body, RULES)
    return photo, np.asarray(Image.open(io.BytesIO(photo.body)).convert("RGB"))


def plain(colour, mode="RGB"):
    return Image.new(mode, (SIDE, SIDE), colour)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize(("space", "profile"), [("P3", drawn_profiles.P3), ("Adobe", drawn_profiles.ADOBE)])
def test_wide_colour_becomes_the_same_colour_in_srgb(form, space, profile):
    colour = (180, 120, 90)
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "JPEG": {"quality": 100}}.get(form, {})
    encode = photo_files.heic if form == "HEIF" else lambda picture, **more: photo_files.encoded(picture, form, **more)

    photo, pixels = stored(encode(plain(colour), icc_profile=profile, **options))

    assert "converted to sRGB" in photo.changed
    np.testing.assert_allclose(pixels[5, 5], expected(colour, space), atol=2.5)
    assert abs(pixels[5, 5].astype(int) - colour).max() > 4
    assert "icc_profile" not in Image.open(io.BytesIO(photo.body)).info


def test_grey_follows_its_own_curve():
    photo, pixels = stored(photo_files.encoded(plain(100, "L"), "PNG", icc_profile=drawn_profiles.GREY_GAMMA))

    assert photo.changed == "Grey 1.8 converted to sRGB"
    np.testing.assert_allclose(pixels[3, 3], level_of((100 / 255) ** 1.8), atol=1.5)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_inks_are_converted_by_their_profile_and_not_by_a_formula(form):
    white, _ = stored(photo_files.encoded(plain((0, 0, 0, 0), "CMYK"), form, icc_profile=drawn_profiles.INKS))
    photo, cyan = stored(photo_files.encoded(plain((255, 0, 0, 0), "CMYK"), form, icc_profile=drawn_profiles.INKS))
    _, formula = stored(photo_files.encoded(plain((255, 0, 0, 0), "CMYK"), form))

    assert white.changed == photo.changed == f"drawn inks converted to sRGB, {form} written as PNG"
    assert tuple(formula[5, 5]) == (0, 255, 255)
    assert cyan[5, 5, 0] < 60 < cyan[5, 5, 1] < 180 < cyan[5, 5, 2]  # the cyan of a printer: Lab 55, -37, -50


def test_transparency_and_orientation_are_applied_too():
    picture = plain((200, 40, 40, 255), "RGBA")
    picture.paste((200, 40, 40, 0), (0, 0, SIDE, 10))
    tags = Image.Exif()
    tags[0x0112] = 3

    photo, pixels = stored(photo_files.encoded(picture, "PNG", icc_profile=drawn_profiles.P3, exif=tags))

    assert (pixels[-5] == 255).all()
    np.testing.assert_allclose(pixels[5, 5], expected((200, 40, 40), "P3"), atol=1.5)
    assert inspect(photo.body, RULES).changed == ""


@pytest.mark.parametrize("profile", [drawn_profiles.SRGB, drawn_profiles.SRGB_TABLE, LITTLE_CMS])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_profile_that_is_srgb_whatever_its_name_changes_nothing(profile, form, mode):
    body = photo_files.encoded(photo_files.photo().convert(mode), form, icc_profile=profile)

    photo = inspect(body, RULES)

    assert (photo.body, photo.changed, photo.note) == (body, "", "")
    assert embedded_profile(body) == profile


@pytest.mark.parametrize(
    ("mode", "profile", "note"),
    [
        ("RGB", b"nonsense", "its colour profile is damaged"),
        ("RGB", drawn_profiles.P3[:200], "its colour profile is damaged"),
        ("RGB", drawn_profiles.GREY_GAMMA, "its colour profile is for GRAY, its pixels are not"),
        ("L", drawn_profiles.INKS, "its colour profile is for CMYK, its pixels are not"),
    ],
)
def test_profile_that_cannot_be_used_is_ignored_and_noted(mode, profile, note):
    body = photo_files.encoded(photo_files.photo().convert(mode), icc_profile=profile)

    photo = inspect(body, RULES)

    assert (photo.body, photo.changed) == (body, "")
    assert photo.note.startswith(note)
    assert photo.pixels_sha256 == inspect(photo_files.encoded(photo_files.photo().convert(mode)), RULES).pixels_sha256


def test_large_photo_of_a_lossy_source_is_written_as_jpeg_and_a_larger_one_is_halved_as_the_graph_does(monkeypatch):
    monkeypatch.setattr(decode, "LARGE", 9_000)
    picture = photo_files.photo(side=100)
    wide = photo_files.encoded(picture, quality=98, subsampling=0, icc_profile=drawn_profiles.P3)
    small = SchemaRules(full_size=4_000)

    photo, halved = inspect(wide, RULES), inspect(wide, small)

    assert photo.changed == "Display P3 converted to sRGB"
    assert (photo.body[:2], photo.width) == (b"\xff\xd8", 100)
    exact = inspect(photo_files.encoded(picture, "PNG", icc_profile=drawn_profiles.P3), RULES)
    pixels = [np.asarray(Image.open(io.BytesIO(one.body)), np.int16) for one in (photo, exact)]
    assert abs(pixels[0] - pixels[1]).mean() < 1.5
    assert (halved.width, halved.changed) == (
        50,
        "Display P3 converted to sRGB, at 1/2 of its size, JPEG written as PNG",
    )


def test_numbers_for_wide_primaries_are_a_profile_too_and_hdr_is_refused():
    picture = plain((180, 120, 90))

    photo, pixels = stored(photo_files.heic(picture, color_primaries=12, transfer_characteristics=13))

    assert photo.changed == "Display P3 converted to sRGB, HEIF written as PNG"
    np.testing.assert_allclose(pixels[5, 5], expected((180, 120, 90), "P3"), atol=2.5)
    assert inspect(photo_files.heic(picture, color_primaries=1, transfer_characteristics=1), RULES).changed == (
        "HEIF written as PNG"
    )
    with pytest.raises(PhotoRejected, match=r"HDR screens \(PQ\); export it as JPEG") as refused:
        inspect(photo_files.heic(picture, color_primaries=9, transfer_characteristics=16), RULES)
    assert refused.value.reason is RejectionReason.MODE


@settings(max_examples=100, deadline=None)
@given(
    shift=st.floats(-0.02, 0.02),
    gamma=st.sampled_from([1.0, 1.8, 2.2, 2.4]) | st.none(),
    seed=st.integers(0, 20),
)
def test_what_is_srgb_without_a_library_is_srgb_for_littlecms_too(shift, gamma, seed):
    primaries = [(x + shift, y) for x, y in drawn_profiles.REC709]
    profile = drawn_profiles.rgb_profile(primaries, gamma or drawn_profiles.SRGB_CURVE)
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8))
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    after = ImageCms.profileToProfile(picture, opened, ImageCms.createProfile("sRGB"), outputMode="RGB")
    difference = abs(np.asarray(after, np.int16) - np.asarray(picture, np.int16)).max()

    assert difference <= 2 or not is_srgb(profile)
    if shift == 0 and gamma is None:
        assert is_srgb(profile)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 535), value=st.integers(0, 255), kept=st.integers(0, 536))
def test_any_bytes_may_be_a_profile(at, value, kept):
    damaged = bytearray(drawn_profiles.P3)
    damaged[at] = value

    assert is_srgb(bytes(damaged[:kept])) is False
    inspect(photo_files.encoded(plain((1, 2, 3)), "PNG", icc_profile=bytes(damaged[:kept])), RULES)
