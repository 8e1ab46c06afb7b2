"""One decoding: the same bytes give the same upright pixels, or a refusal, in ingest, in training and in the served graph."""

from __future__ import annotations

import hashlib
import io
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from orchard import photo_formats
from orchard.errors import DataError
from orchard.orientation import HEAD, JPEG, ORIENTATION, read_orientation
from orchard.photo_formats import as_served
from tests import drawn_profiles, photo_files
from training.data.ingest.decode import inspect, plain_copy
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules, SideLimits
from training.model import orientation_graph
from training.model.preprocessing import decode_photos, preprocess

SIDE = 48
RULES = SchemaRules()
EXIF_FORMS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
SERVED = ("JPEG", "PNG")
MODES = {
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "PNG": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "AVIF": ("L", "RGB", "RGBA"),
    "HEIF": ("L", "RGB", "RGBA"),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IN_COLOUR = {drawn_profiles.SRGB_TABLE: False, drawn_profiles.P3: True, drawn_profiles.PROPHOTO: True, SRGB: False}
PROFILES = {
    "L": {drawn_profiles.GREY_GAMMA: True, drawn_profiles.INKS: False, SRGB: False},
    "CMYK": {drawn_profiles.INKS: True, SRGB: False},
    "RGB": {**IN_COLOUR, drawn_profiles.GREY_GAMMA: False, b"damaged": False},
    "RGBA": IN_COLOUR,
    "P": IN_COLOUR,
}
"""By mode: profiles, and whether they change the pixels."""


@contextmanager
def running(kind, build):
    """A function that runs a graph in a session, as a model server does: from a placeholder to what `build` makes of it."""
    graph = tf.Graph()
    with graph.as_default():
        photo = tf.compat.v1.placeholder(tf.string, kind)
        outputs = build(photo)
    session = tf.compat.v1.Session(graph=graph)
    yield [session.make_callable(output, [photo]) for output in outputs]
    session.close()


@pytest.fixture(scope="module")
def served():
    """The pixels of one photo of `SIDE` by `SIDE`, as a graph with the rules decodes them: uint8[SIDE, SIDE, 3]."""
    with running([None], lambda photos: [preprocess(photos, SIDE, RULES)]) as (call,):
        yield lambda body: call(np.array([body], object))[0].astype(np.uint8)


def digest(pixels):
    return hashlib.sha256(b"%d %d " % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()).hexdigest()


def draw(mode, seed):
    dice = np.random.default_rng(seed)
    picture = Image.fromarray(dice.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    if mode.startswith("I;16"):
        values = dice.integers(0, 65536, (SIDE, SIDE)).astype(">u2" if mode == "I;16B" else "<u2")
        return Image.frombytes(mode, (SIDE, SIDE), values.tobytes())
    if mode in {"RGBA", "LA"}:
        picture.putalpha(Image.fromarray(dice.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)))
    return picture.convert(mode)


@st.composite
def photos(draw_value):
    form = draw_value(st.sampled_from(sorted(MODES)))
    mode = draw_value(st.sampled_from(MODES[form]))
    options = {}
    if form in EXIF_FORMS:
        tags = Image.Exif()
        tags[ORIENTATION] = draw_value(
            st.integers(1, 8) if form == "TIFF" else st.integers(0, 9)
        )  # libtiff refuses others
        options["exif"] = tags
    converts = False
    if form not in {"GIF", "BMP"} and mode in PROFILES and draw_value(st.booleans()):
        options["icc_profile"], converts = draw_value(st.sampled_from(list(PROFILES[mode].items())))
    if form == "JPEG":
        options |= {"progressive": draw_value(st.booleans()), "quality": draw_value(st.integers(30, 95))}
    if mode == "P" and form in {"PNG", "GIF"} and draw_value(st.booleans()):
        options["transparency"] = 7
    if form == "TIFF" and mode not in {"1", "RGBA"} and draw_value(st.booleans()):
        options["compression"] = "tiff_lzw"
    picture = draw(mode, draw_value(st.integers(0, 99)))
    if form == "HEIF":
        body = photo_files.heic(picture, **{**options, "exif": options["exif"].tobytes()})
    else:
        several = form in {"PNG", "WEBP", "GIF"} and mode == "RGB" and draw_value(st.integers(0, 9)) == 0
        options |= {"save_all": True, "append_images": [draw(mode, 100)]} if several else {}
        converts |= several
        options |= {"speed": 10, "max_threads": 1} if form == "AVIF" else {}
        body = photo_files.encoded(picture, form, **options)
    return form in SERVED and not converts, body


@settings(max_examples=250, deadline=None)
@given(photo=photos())
def test_same_bytes_give_the_same_upright_pixels_everywhere(served, photo):
    stays, body = photo

    stored = inspect(body, RULES)
    sent = as_served(body)

    assert sent == stored.body
    assert digest(served(sent)) == stored.pixels_sha256
    assert digest(decode_photos([stored.body], SIDE)[0]) == stored.pixels_sha256
    assert inspect(plain_copy(stored.body), RULES).pixels_sha256 == stored.pixels_sha256
    assert (stored.body == body) == stays
    assert stored.original_sha256 == hashlib.sha256(body).hexdigest()
    if not body.startswith(photo_formats.SERVED):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`orchard predict` converts HEIC, AVIF, WebP, GIF"):
            served(body)


WHOLE = [
    photo_files.heic(photo_files.photo(side=SIDE)),
    photo_files.encoded(photo_files.photo(side=SIDE), "AVIF", speed=10),
    photo_files.encoded(photo_files.photo(side=SIDE), "WEBP", icc_profile=drawn_profiles.P3),
    photo_files.encoded(photo_files.photo(side=SIDE), "JPEG", icc_profile=drawn_profiles.P3),
    photo_files.encoded(photo_files.photo(side=SIDE), "PNG", icc_profile=drawn_profiles.P3),
]


OF_THE_SCHEMA = tuple(
    f"{reason}:" for reason in (RejectionReason.TOO_SMALL, RejectionReason.TOO_LARGE, RejectionReason.BOMB)
)
"""How refusals begin that no caller of a model has, because the sizes that it takes are the dataset's rule."""


def outcome(call, body):
    """What it returns, or the text of its refusal."""
    try:
        return call(body)
    except PhotoRejected as refused:
        return f"{refused.reason}: {refused.detail}"
    except DataError as refused:
        return refused.message


@settings(max_examples=300, deadline=None)
@given(body=st.sampled_from(WHOLE), share=st.floats(0.02, 1), flips=st.lists(st.floats(0, 1), max_size=3))
def test_damaged_files_give_the_same_pixels_or_the_same_refusal(served, body, share, flips):
    damaged = bytearray(body[: max(16, int(len(body) * share))])
    for place in flips:
        damaged[12 + int(place * (len(damaged) - 13))] ^= 0x55
    damaged = bytes(damaged)

    stored, sent = outcome(lambda photo: inspect(photo, RULES), damaged), outcome(as_served, damaged)

    if isinstance(stored, str) and stored.startswith(OF_THE_SCHEMA):  # which `inspect` asks before it decodes
        assert isinstance(sent, str) or sent == damaged
    elif isinstance(stored, str):
        assert sent in {stored, damaged}, "only what seems to need no conversion is left to the model"
    else:
        assert sent == stored.body
        assert digest(served(sent)) == stored.pixels_sha256


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_photo_on_its_side_is_predicted_as_the_upright_one(form, orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    picture = photo_files.photo(number=9).crop((0, 0, 100, 70))
    lying = photo_files.encoded(picture, form, exif=tags)
    shown = Image.open(io.BytesIO(lying)).convert("RGB")
    upright = photo_files.encoded(
        {
            2: lambda: shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            3: lambda: shown.transpose(Image.Transpose.ROTATE_180),
            4: lambda: shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
            5: lambda: shown.transpose(Image.Transpose.TRANSPOSE),
            6: lambda: shown.transpose(Image.Transpose.ROTATE_270),
            7: lambda: shown.transpose(Image.Transpose.TRANSVERSE),
            8: lambda: shown.transpose(Image.Transpose.ROTATE_90),
        }.get(orientation, lambda: shown)(),
        "PNG",
    )

    np.testing.assert_array_equal(decode_photos([lying], 64), decode_photos([upright], 64))
    assert inspect(lying, RULES).pixels_sha256 == inspect(upright, RULES).pixels_sha256


def phone_photo(orientation, *, before=b"", big=True, kind=3):
    """A JPEG with an Exif block of two entries after other segments."""
    order = "big" if big else "little"
    value = orientation.to_bytes(2 if kind == 3 else 4, order).ljust(4, b"\0")
    entries = [
        (0x010F).to_bytes(2, order) + (2).to_bytes(2, order) + (4).to_bytes(4, order) + b"Cam\0",
        ORIENTATION.to_bytes(2, order) + kind.to_bytes(2, order) + (1).to_bytes(4, order) + value,
    ]
    block = (
        (b"MM\0*" if big else b"II*\0") + (8).to_bytes(4, order) + (2).to_bytes(2, order) + b"".join(entries) + bytes(4)
    )
    segment = b"\xff\xe1" + (len(block) + 8).to_bytes(2, "big") + b"Exif\0\0" + block
    plain = photo_files.jpeg(side=SIDE)
    return plain[:2] + before + segment + plain[2:]


@pytest.fixture(scope="module")
def rule():
    """The orientation that the graph finds, as `read_orientation` does."""

    def build(photo):
        head = tf.strings.substr(photo, 0, HEAD)

        def of(block):
            find = lambda: orientation_graph._read_directory(head, *block(head))  # noqa: E731
            return tf.cond(orientation_graph.may_be_turned(head), find, lambda: tf.constant(1, tf.int64))

        return [of(orientation_graph._jpeg_block), of(orientation_graph._png_block)]

    with running([], build) as (jpeg, png):
        yield lambda body: (jpeg if body.startswith(JPEG) else png)(body)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 9])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("big", [True, False])
def test_orientation_is_found_after_other_segments(rule, orientation, kind, big):
    comment = b"\xff\xfe" + (2002).to_bytes(2, "big") + bytes(2000)
    body = phone_photo(orientation, before=comment, big=big, kind=kind)

    assert read_orientation(body) == rule(body) == (orientation if orientation < 9 else 1)


LYING = [phone_photo(6), phone_photo(8, big=False), phone_photo(3, kind=4), phone_photo(6, big=False, kind=4)]
LYING.append(photo_files.encoded(photo_files.photo(side=SIDE), "PNG", exif=Image.open(io.BytesIO(LYING[0])).getexif()))


@settings(max_examples=400, deadline=None)
@given(
    body=st.sampled_from(LYING),
    changes=st.lists(
        st.tuples(st.integers(8, 110), st.integers(0, 255) | st.sampled_from([0, 1, 2, 6, 255])), max_size=4
    ),
    kept=st.one_of(st.just(None), st.integers(9, 130)),
)
def test_both_orientation_rules_agree_on_any_bytes(rule, body, changes, kept):
    damaged = bytearray(body)
    for place, value in changes:
        damaged[place] = value
    damaged = bytes(damaged[:kept])

    assert read_orientation(damaged) == rule(damaged)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (photo_files.jpeg(side=31), RejectionReason.TOO_SMALL),
        (photo_files.encoded(photo_files.photo(side=31), "PNG"), RejectionReason.TOO_SMALL),
        (photo_files.bomb(), RejectionReason.BOMB),
        (photo_files.encoded(Image.new("L", (20_001, 40))), RejectionReason.TOO_LARGE),
    ],
)
def test_graph_refuses_the_sizes_that_ingest_refuses(served, body, reason):
    with pytest.raises(PhotoRejected) as refused:
        inspect(body, RULES)

    assert refused.value.reason is reason
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected sides of 32 to 20000 pixels.*data/schema.yaml"):
        served(body)


def test_graph_takes_what_the_schema_allows():
    small, rules = photo_files.jpeg(side=28), SchemaRules(side=SideLimits(min=16))
    with running([None], lambda photos: [preprocess(photos, 28, rules)]) as (call,):
        pixels = call(np.array([small], object))[0]

    assert digest(pixels.astype(np.uint8)) == inspect(small, rules).pixels_sha256


def test_animated_png_is_refused_by_the_graph_too(served):
    body = photo_files.encoded(
        photo_files.photo(side=SIDE), "PNG", save_all=True, append_images=[photo_files.photo(side=SIDE, number=9)]
    )

    with pytest.raises(tf.errors.InvalidArgumentError, match="animated"):
        served(body)


def as_samsung(body):
    """A sequential JPEG with (0, 0, 0) at the end of its scan header."""
    scan = body.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(body[scan + 2 : scan + 4], "big")
    return body[: end - 3] + bytes(3) + body[end:]


PLAIN = photo_files.jpeg(side=SIDE)
HARMLESS = {
    "scan header of zeros": as_samsung(PLAIN),
    "scan header of zeros, on its side": as_samsung(phone_photo(6)),
    "grey, scan header of zeros": as_samsung(photo_files.encoded(photo_files.photo(side=SIDE).convert("L"))),
    "zeros before the end": PLAIN[:-2] + bytes(5) + PLAIN[-2:],
    "unknown revision of JFIF": PLAIN[:11] + b"\x03" + PLAIN[12:],
    "bytes behind the end": PLAIN + b"SEFT",
}


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS.keys())
def test_warning_is_not_taken_for_damage_if_all_decoders_give_the_same_pixels(served, body):
    stored = inspect(body, RULES)

    assert stored.body == body
    assert digest(served(body)) == stored.pixels_sha256
    assert digest(decode_photos([body], SIDE)[0]) == stored.pixels_sha256


def test_damage_behind_a_harmless_deviation_is_still_found():
    def count_damaged(whole):
        damaged = 0
        for at in range(whole.index(b"\xff\xda") + 14, len(whole) - 2, 7):
            flipped = bytearray(whole)
            flipped[at] ^= 0x10
            try:
                inspect(bytes(flipped), RULES)
            except PhotoRejected as error:
                damaged += error.reason in {RejectionReason.DAMAGED, RejectionReason.TRUNCATED}
        return damaged

    body = photo_files.jpeg(number=3)

    assert count_damaged(as_samsung(body)) == count_damaged(body) > 20
