"""One preprocessing: the served graph, the fast path of training, and Pillow give the same pixels."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import photo_files
from training.model.preprocessing import decode_photos, preprocess


@functools.cache
def graph_of(size, crop):
    """A session of the exported graph with its input and its output: building it takes seconds."""
    with tf.Graph().as_default() as graph:
        given = tf.compat.v1.placeholder(tf.string, [None])
        pixels = preprocess(given, size, crop=crop)
    return tf.compat.v1.Session(graph=graph), given, pixels


def served(files, size, *, crop=False):
    """The pixels of the exported graph: the same function in its own graph, as in the export."""
    session, given, pixels = graph_of(size, crop)
    return session.run(pixels, {given: np.array(files, object)})


def open_draft(file, size):
    """The photo as Pillow decodes it when about `size` pixels a side are enough: JPEG at 1, 1/2, 1/4 or 1/8."""
    picture = Image.open(io.BytesIO(file))
    picture.draft(None, (size, size))
    return np.asarray(picture.convert("RGB"))


def means(file, size):
    """float64[size, size, 3]: Pillow's pixels, averaged over the area that each new one covers."""
    picture = open_draft(file, size).astype(np.float64)
    height, width = picture.shape[:2]
    return np.einsum("yh,hwc,xw->yxc", shares(height, size), picture, shares(width, size), optimize=True)


def shares(length, size):
    """float64[size, length]: how much of each new pixel each old one makes up."""
    edges = np.arange(size + 1) * length / size
    old = np.arange(length)
    covered = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.clip(covered, 0, None) * size / length


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height"), [(100, 100), (50, 50), (130, 75), (41, 37), (348, 464), (201, 99), (805, 411)]
)
def test_pixels_are_pillows_averaged_over_areas(form, width, height):
    file = photo_files.encoded(noise(width, height), form)

    levels = served([file], 50)[0]

    assert np.array_equal(levels, np.floor(levels))
    # half a level is the rounding; the rest is float32, which adds up to 65 pixels here: 4e-6 of the range from 0 to 1
    assert np.abs(levels - means(file, 50)).max() <= 0.5 + 4e-6 * 255


@pytest.mark.parametrize("mode", ["L", "1", "RGBA", "P", "CMYK"])
def test_every_kind_of_photo_becomes_the_rgb_that_pillow_sees(mode):
    picture = noise(50, 50).convert(mode)
    file = photo_files.encoded(picture, "JPEG" if mode in ("L", "CMYK") else "PNG")

    assert np.array_equal(served([file], 50)[0], np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


@pytest.mark.parametrize("times", [1, 2, 4, 8])
def test_photo_of_a_multiple_of_the_size_is_what_pillow_decodes_at_that_scale(times):
    file = photo_files.encoded(noise(50 * times, 50 * times), quality=80)

    assert np.array_equal(served([file], 50)[0], open_draft(file, 50))


@pytest.mark.parametrize("crop", [False, True])
def test_fast_path_gives_the_same_pixels_bit_for_bit(crop):
    files = [photo_files.jpeg(number=number) for number in range(6)]
    files += [photo_files.encoded(noise(100, 100, seed), quality=quality) for seed, quality in enumerate((30, 75, 95))]
    files += [
        photo_files.encoded(noise(*sides), form)
        for sides in ((50, 50), (348, 464), (64, 64), (101, 99), (805, 411))
        for form in ("JPEG", "PNG")
    ]
    files += [photo_files.encoded(noise(100, 100).convert("CMYK")), photo_files.encoded(noise(100, 100).convert("L"))]

    for size in (50, 25, 64):
        quick = decode_photos(files, size, crop=crop)
        assert quick.dtype == np.uint8
        assert np.array_equal(quick, served(files, size, crop=crop))


@pytest.mark.parametrize("sides", [(90, 60), (60, 90), (61, 90), (60, 60)])
def test_a_photo_can_be_cut_to_the_square_in_its_middle(sides):
    width, height = sides
    picture = noise(width, height)
    side = min(sides)
    left, top = (width - side) // 2, (height - side) // 2
    square = picture.crop((left, top, left + side, top + side))

    cut = decode_photos([photo_files.encoded(picture, "PNG")], 30, crop=True)

    assert np.array_equal(cut, decode_photos([photo_files.encoded(square, "PNG")], 30))


def test_answers_do_not_depend_on_the_rest_of_the_batch():
    files = [photo_files.jpeg(), photo_files.encoded(noise(130, 75), "PNG"), photo_files.jpeg(number=9)]

    together = served(files, 50)

    assert all(np.array_equal(together[[place]], served([file], 50)) for place, file in enumerate(files))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"only text", "expected a JPEG or PNG photo; `orchard predict` converts"),
        (b"", "expected a JPEG or PNG photo"),
        (photo_files.truncated(), "Invalid JPEG data"),
        (photo_files.animated(), "expected a JPEG or PNG photo"),
    ],
)
def test_bad_photo_in_a_batch_is_an_error_with_the_cause(file, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served([photo_files.jpeg(), file], 50)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_photos([photo_files.jpeg(), file], 50)
