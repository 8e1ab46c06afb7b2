"""Near-copies across splits and classes are found, with pictures; frames of a turntable and other photos are not."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from orchard.cli import main
from tests import photo_files
from training.data.validation import near_duplicates
from training.data.validation.near_duplicates import NearPhoto, PhotoPrints, thumbnail_pixels

KIWI, LEMON, *_ = photo_files.CLASSES


def scene(number):
    """A photo of smooth patches in any colours, like no other: an RGB picture of 160 × 120."""
    colours = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC)


COPIES = {
    "re-encoded": lambda picture: photo_files.encoded(picture, quality=40),
    "half the size": lambda picture: photo_files.encoded(picture.resize((80, 60)), quality=90),
    "WebP": lambda picture: photo_files.encoded(picture, "WEBP", quality=70),
    "lighter": lambda picture: photo_files.encoded(ImageEnhance.Brightness(picture).enhance(1.05), quality=90),
    "a pixel less": lambda picture: photo_files.encoded(picture.crop((1, 1, 159, 119)), quality=90),
    "PNG": lambda picture: photo_files.encoded(picture, "PNG"),
    "on its side": lambda picture: photo_files.encoded(
        picture.transpose(Image.Transpose.ROTATE_90), quality=90, exif=turned()
    ),
}


def turned():
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


def found(*photos):
    prints = PhotoPrints()
    rows = [NearPhoto(f"{number:064d}", *facts) for number, (_, *facts) in enumerate(photos)]
    for row, (body, *_) in zip(rows, photos, strict=True):  # in parts, as the shards are
        prints.add([row], [thumbnail_pixels(body)])
    return prints.find()


@pytest.mark.parametrize("kind", COPIES)
def test_copy_in_the_other_split_is_found_among_other_photos(kind):
    others = [
        (photo_files.encoded(scene(number), quality=90), f"{number} a.jpg", "train", KIWI, "shop")
        for number in range(30)
    ]
    copy = (COPIES[kind](scene(7)), "copy.jpg", "test", KIWI, "shop")

    near = found(*others, copy)

    assert (near.checked, near.across_splits, near.across_classes, near.frames) == (31, {"shop": 1}, {}, 0)
    assert [[photo.path for photo in group] for group in near.groups] == [["copy.jpg", "7 a.jpg"]]


def test_photo_that_is_decoded_at_a_fraction_of_its_size_has_the_same_pixels_as_a_smaller_copy():
    """Of 261 columns, a quarter is 65.25: the decoder fills the 66th."""
    large, small = (photo_files.encoded(scene(3).resize((side, side)), quality=90) for side in (348, 261))

    apart = np.abs(thumbnail_pixels(large).astype(int) - thumbnail_pixels(small))
    assert apart.mean() < 1


def test_photos_that_only_begin_alike_are_no_copies():
    """A larger crop: for some, the words that are compared first are near, and the whole hash is not."""
    for number in range(12):
        whole, cropped = scene(number), scene(number).crop((6, 5, 154, 115))
        one, other = (photo_files.encoded(picture, quality=90) for picture in (whole, cropped))
        assert found((one, "a.jpg", "train", KIWI, "shop"), (other, "b.jpg", "test", KIWI, "shop")).groups == ()


def test_copies_within_a_class_and_split_are_no_finding_and_of_another_class_are():
    body, again = (photo_files.encoded(scene(1), quality=quality) for quality in (90, 50))

    assert found((body, "a.jpg", "train", KIWI, "shop"), (again, "b.jpg", "train", KIWI, "shop")).groups == ()
    near = found((body, "a.jpg", "train", KIWI, "shop"), (again, "b.jpg", "train", LEMON, "web"))
    assert (near.across_splits, near.across_classes, len(near.groups)) == ({}, {"shop": 1, "web": 1}, 1)
    assert found().checked == 0


def test_same_shape_on_white_in_another_colour_is_no_copy():
    def fruit(colour):
        picture = Image.new("RGB", (100, 100), "white")
        picture.paste(colour, (30, 35, 70, 60))
        return photo_files.encoded(picture, quality=90)

    green, yellow = fruit((120, 200, 60)), fruit((220, 200, 60))
    assert found((green, "a.jpg", "train", KIWI, "shop"), (yellow, "b.jpg", "test", LEMON, "shop")).groups == ()
    assert found((green, "a.jpg", "train", KIWI, "shop"), (green, "b.jpg", "test", LEMON, "shop")).groups != ()


def test_frames_of_one_turntable_are_only_counted():
    body = photo_files.jpeg(KIWI, 10)
    near = found(
        (body, "10_100.jpg", "train", KIWI, "farm"), (photo_files.jpeg(KIWI, 11), "11_100.jpg", "test", KIWI, "farm")
    )
    assert (near.groups, near.across_splits, near.frames) == ((), {}, 1)
    near = found((body, "10_100.jpg", "train", KIWI, "farm"), (body, "11_100.jpg", "test", KIWI, "other"))
    assert (len(near.groups), near.across_splits, near.frames) == (1, {"other": 1}, 0)


def test_hashes_in_blocks_find_what_all_pairs_find(monkeypatch):
    """More photos than one block, sorted by colour: pairs are found across blocks."""
    monkeypatch.setattr(near_duplicates, "OTHERS", 100)
    photos = [
        (
            photo_files.encoded(scene(number % 150), "PNG"),
            f"{number} x.png",
            "test" if number >= 150 else "train",
            KIWI,
            "shop",
        )
        for number in range(300)
    ]
    assert found(*photos).across_splits == {"shop": 150}


def test_page_shows_the_groups_and_its_command_takes_the_copies_out(workspace, capsys):
    for split, quality in (("train", 90), ("test", 60)):
        for label in (KIWI, LEMON):
            folder = workspace / "shop" / split / label
            folder.mkdir(parents=True)
            for number in range(3):
                picture = scene(
                    hash_of(label) + number + (0 if (label, number) == (KIWI, 0) else 100 * (split == "test"))
                )
                (folder / f"{label} {number}.jpg").write_bytes(photo_files.encoded(picture, quality=quality))
    assert main(["ingest", "shop", "--dataset", "own", "--no-push"]) == 0
    (workspace / "data/schema.yaml").write_text("defaults: {photos: {train: 1, test: 1}}")
    capsys.readouterr()

    assert main(["validate", "--dataset", "own", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    near = document["near_duplicates"]
    page = (workspace / "artifacts/validation/page.html").read_text()
    assert near["across_splits"] == {"shop": 1}
    assert [item["rule"] for item in document["findings"]] == ["near duplicates"]
    assert page.count('<ul class="suspects">') == 1
    command = page.split("<pre>\norchard ")[1].split("</pre>")[0].replace("&#39;", "'").replace("\\\n", "")
    assert main([*shlex.split(command), "--no-push"]) == 0
    assert main(["validate", "--dataset", "own"]) == 0
    assert "None of 11 photos is almost equal" in (workspace / "artifacts/validation/page.html").read_text()
    capsys.readouterr()
    assert main(["validate", "--dataset", "own", "--no-near-duplicates", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["near_duplicates"] is None


def hash_of(label):
    return 10 * photo_files.CLASSES.index(label)
