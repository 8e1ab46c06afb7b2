"""Photos without their metadata: what stays, what goes, and what is none."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from orchard.orientation import read_orientation
from serving.photo_metadata import follows_picture, without_metadata

PICTURE = Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 30).convert("RGB")


def encoded(form: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Camera of Anna"
    body = io.BytesIO()
    PICTURE.save(body, form, exif=exif, **options)
    return body.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_pixels_and_orientation_stay_and_all_else_goes(form, options, orientation):
    body = encoded(form, orientation, **options)

    found = without_metadata(body)

    assert found is not None
    assert b"Anna" in body
    assert b"Anna" not in found
    assert read_orientation(found) == orientation
    assert Image.open(io.BytesIO(found)).tobytes() == Image.open(io.BytesIO(body)).tobytes()
    assert without_metadata(found) == found, "it is a photo without metadata"
    assert follows_picture(body) == b""


def test_profiles_stay_and_texts_go():
    text = PngInfo()
    text.add_text("Comment", "at home")
    body = io.BytesIO()
    PICTURE.save(body, "PNG", pnginfo=text, icc_profile=b"profile" * 9)

    found = without_metadata(body.getvalue())

    assert found is not None
    assert b"at home" not in found
    assert Image.open(io.BytesIO(found)).info["icc_profile"] == b"profile" * 9


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_what_follows_the_picture_goes(form):
    body = encoded(form, 1)

    assert without_metadata(body + b"<html>") == without_metadata(body)
    assert follows_picture(body + b"<html>") == b"<html>"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_part_of_a_photo_is_none(form):
    body = encoded(form, 6)

    for end in {0, 1, 2, 3, 4, 9, 20, len(body) // 2, len(body) - 3}:
        assert without_metadata(body[:end]) is None, end
    assert without_metadata(b"GIF89a" + body) is None
    assert follows_picture(b"<html>") == b"<html>"
