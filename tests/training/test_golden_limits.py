"""Golden photos keep one limit, whatever the photos of the dataset are: it is checked before the training."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from orchard.errors import DataError
from orchard.golden import GOLDEN, MAX_BYTES, MAX_PHOTO_BYTES, MAX_PHOTOS, read_golden
from orchard.reporter import Reporter
from tests import photo_files
from tests.training import test_train
from tests.training.candidates import COLOURS, PhotoSpec
from training.data.schema import SchemaRules, SideLimits
from training.model import golden_photos, golden_variants
from training.model import train as training


def noise(side: int, form: str, number: int = 0, **options) -> bytes:
    """A photo that no format makes small."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    return photo_files.encoded(Image.fromarray(pixels), form, **options)


def specs(photos: list[bytes]) -> list[PhotoSpec]:
    labels = tuple(COLOURS)
    return [
        PhotoSpec(photo, labels[place % len(labels)], "test" if place < 8 else "train", "shop")
        for place, photo in enumerate(photos)
    ]


def test_every_export_that_keeps_the_limit_of_a_photo_can_be_read():
    longest = {"b64": "A" * (-(-MAX_PHOTO_BYTES // 3) * 4), "label": "x" * 480, "probability": 0.12345678901234567}

    assert MAX_PHOTOS * (len(longest["b64"]) + len(longest["label"]) + 100) + 100 < MAX_BYTES
    assert golden_photos.MAX_PLAIN + len(golden_variants.make_variants([], 1)) <= MAX_PHOTOS


@pytest.mark.parametrize("side_min", [32, 700])
@pytest.mark.parametrize(
    ("side", "form", "options"), [(900, "JPEG", {"quality": 98}), (900, "PNG", {}), (60, "JPEG", {})]
)
def test_a_golden_photo_is_small_and_keeps_the_schema(side, form, options, side_min):
    photo = noise(side, form, **options)

    small = golden_variants.shrink(photo, side_min)

    assert len(small) <= MAX_PHOTO_BYTES
    with Image.open(io.BytesIO(small)) as image:
        assert min(image.size) == (side if side < 100 else max(golden_variants.SMALL_SIDE, side_min))


def test_a_large_photo_on_its_side_is_encoded_upright():
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (800, 400, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6

    small = golden_variants.shrink(photo_files.encoded(picture, "JPEG", quality=95, exif=exif), 32)

    with Image.open(io.BytesIO(small)) as image:
        assert (image.size, image.getexif().get(0x0112, 1)) == ((512, 256), 1)


def test_training_on_large_photos_ends_with_an_export_that_can_be_published(tmp_path):
    photos = [noise(400, "PNG", number) for number in range(40)]
    workspace = test_train.write_workspace(tmp_path, specs(photos))

    test_train.run(workspace, "train.epochs=1")

    path = workspace.candidate / "saved_model"
    golden = read_golden(path)
    assert len(golden.photos) >= 2
    assert max(map(len, golden.photos)) <= MAX_PHOTO_BYTES
    assert (path / GOLDEN).stat().st_size <= 2_000_000


def test_photos_that_cannot_become_golden_are_an_error_before_the_training(tmp_path, monkeypatch):
    workspace = test_train.write_workspace(tmp_path, specs([noise(300, "PNG", number) for number in range(40)]))
    monkeypatch.setattr(golden_variants, "MAX_PHOTO_BYTES", 2_000)
    monkeypatch.setattr(training, "fit", lambda *arguments: pytest.fail("it trained"))

    with pytest.raises(DataError, match=r"have more than .* bytes even when encoded again"):
        training.train(test_train.parse(), workspace, Reporter.silent())


def test_a_variant_that_would_be_too_large_is_left_out():
    rules = SchemaRules(side=SideLimits(min=1500))

    kinds = golden_variants.make_variants([noise(1500, "JPEG", quality=30)], rules.side.min)

    assert [len(kind) for kind in kinds] == [1, 0]
