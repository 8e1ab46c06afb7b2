"""Every conversion is compared with its source: nothing comes out black, white or inverted without a reason."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests import photo_files
from training.data.ingest.conversion import check_conversion
from training.data.ingest.decode import inspect
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules

RULES = SchemaRules()
RAMP = (np.add.outer(np.arange(64), np.arange(64)) * 520).astype(np.uint16)
"""Grey values over nearly the whole range of 16 bits."""


def tiff(values, order="<", *, bits=16, white_is_zero=False, sample_format=1):
    """An uncompressed grey TIFF, in either byte order, by hand: Pillow writes few kinds."""
    data = values.astype(f"{order}u{bits // 8}").tobytes()
    height, width = values.shape
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, 0 if white_is_zero else 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(data)),
        (339, sample_format),
    ]
    directory = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    begin = b"II*\0" if order == "<" else b"MM\0*"
    return (
        begin
        + struct.pack(f"{order}I", 8 + len(data))
        + data
        + struct.pack(f"{order}H", len(tags))
        + directory
        + bytes(4)
    )


def stored(body):
    return np.asarray(Image.open(io.BytesIO(inspect(body, RULES).body)).convert("RGB"))[..., 0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_keep_their_range_in_both_byte_orders(order):
    np.testing.assert_array_equal(stored(tiff(RAMP, order)), RAMP >> 8)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_compressed_sixteen_bits_keep_their_range(mode, compression):
    values = RAMP.astype(">u2" if mode == "I;16B" else "<u2")
    picture = Image.frombytes(mode, (64, 64), values.tobytes())

    np.testing.assert_array_equal(stored(photo_files.encoded(picture, "TIFF", compression=compression)), RAMP >> 8)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_that_is_zero_is_not_inverted(bits):
    values = RAMP if bits == 16 else (RAMP >> 8).astype(np.uint8)

    np.testing.assert_array_equal(stored(tiff(values, bits=bits, white_is_zero=True)), 255 - (RAMP >> 8))


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_values_are_rejected_with_what_to_do(bits):
    values = RAMP if bits == 16 else (RAMP >> 8).astype(np.uint8)

    with pytest.raises(PhotoRejected, match=r"signed|pixels are 'I'") as refused:
        inspect(tiff(values, bits=bits, sample_format=2), RULES)
    assert refused.value.reason is RejectionReason.MODE


@pytest.mark.parametrize("form", ["TIFF", "PNG"])
@pytest.mark.parametrize(("first", "look"), [(0, "black"), (61_000, "white")])
def test_what_only_the_conversion_makes_black_or_white_is_rejected(form, first, look):
    values = (first + RAMP // 16).astype("<u2")  # 12 bits, as scientific cameras write them
    body = photo_files.encoded(Image.frombytes("I;16", (64, 64), values.tobytes()), form)

    with pytest.raises(PhotoRejected, match=f"nearly {look}; save it with 8 bits") as refused:
        inspect(body, RULES)
    assert refused.value.reason is RejectionReason.MODE


@pytest.mark.parametrize("form", ["TIFF", "PNG", "WEBP", "BMP"])
def test_photo_that_is_dark_in_its_source_is_kept(form):
    dark = Image.fromarray((RAMP >> 12).astype(np.uint8)).convert("RGB")
    body = photo_files.encoded(dark, form, **({"lossless": True} if form == "WEBP" else {}))

    np.testing.assert_array_equal(stored(body), RAMP >> 12)


def test_dark_photo_in_sixteen_bits_is_kept_if_nothing_is_lost():
    values = ((RAMP >> 12) * 257).astype("<u2")

    np.testing.assert_array_equal(
        stored(photo_files.encoded(Image.frombytes("I;16", (64, 64), values.tobytes()), "TIFF")), RAMP >> 12
    )


@pytest.mark.parametrize(
    "wrong",
    [lambda p: p * 0, lambda p: 255 - p, lambda p: p // 2, lambda p: np.full_like(p, 255)],
    ids=["black", "inverted", "half as bright", "white"],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "I;16B"])
def test_decoder_that_gives_other_pixels_is_found(wrong, mode):
    """As if a release of a decoder broke: the result is compared whatever made it."""
    grey = (RAMP >> 8).astype(np.uint8)
    if mode == "I;16B":
        source = Image.frombytes(mode, (64, 64), RAMP.astype(">u2").tobytes())
    else:
        source = Image.fromarray(grey).convert("RGB").convert(mode)
    right = np.repeat(grey[..., None], 3, axis=2)
    check_conversion(source, right)

    with pytest.raises(PhotoRejected, match="its conversion to RGB fails"):
        check_conversion(source, wrong(right).astype(np.uint8))
