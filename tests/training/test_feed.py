from __future__ import annotations

import numpy as np
import pytest

from tests import photo_files
from training.model.encoded_pixels import EncodedPixels
from training.model.feed import BatchIterator
from training.model.in_memory import InMemoryPhotos
from training.model.preprocessing import decode_photos

SOURCES = ("turntable", "shop", "turntable", "shop", "turntable")


def photos() -> InMemoryPhotos:
    count = len(SOURCES)
    pixels = np.zeros((count, 2, 2, 3), np.uint8)
    return InMemoryPhotos(pixels, np.arange(count, dtype=np.int32), ("",) * count, SOURCES, ("",) * count)


def seen(feed: BatchIterator, epoch: int) -> list[int]:
    return np.concatenate(feed.batches(epoch)).tolist()


def test_every_epoch_has_every_photo_once_in_its_own_order():
    feed = BatchIterator(photos(), batch_size=2, seed=3)

    assert sorted(seen(feed, 0)) == [0, 1, 2, 3, 4]
    assert len({tuple(seen(feed, epoch)) for epoch in range(6)}) > 1
    assert seen(feed, 4) == seen(BatchIterator(photos(), batch_size=2, seed=3), 4)


def test_photos_of_a_repeated_source_are_seen_that_often():
    feed = BatchIterator(photos(), batch_size=2, seed=3, repeat={"shop": 3, "nowhere": 9})

    assert sorted(seen(feed, 0)) == [0, 1, 1, 1, 2, 3, 3, 3, 4]
    assert feed.steps == 5
    assert max(len(batch) for batch in feed.batches(0)) <= 2


def test_an_epoch_has_another_part_of_a_source_that_is_sampled():
    count = 200
    sources = ("turntable",) * count + ("shop",) * 10
    pixels, labels = np.zeros((count + 10, 1, 1, 3), np.uint8), np.arange(count + 10, dtype=np.int32)
    many = InMemoryPhotos(pixels, labels, ("",) * (count + 10), sources, ("",) * (count + 10))

    feed = BatchIterator(many, batch_size=8, seed=3, repeat={"turntable": 0.1, "shop": 1.5})

    for epoch in range(3):
        taken = np.array(seen(feed, epoch))
        table, shop = taken[taken < count], taken[taken >= count]
        assert len(table) == len(set(table)) == 20
        assert len(shop) == 15
        assert set(shop) == set(range(count, count + 10))
        assert len(feed.batches(epoch)) == feed.steps
    assert set(seen(feed, 0)) != set(seen(feed, 1))


@pytest.mark.parametrize("crop", [False, True])
def test_photos_that_stay_encoded_give_the_same_pixels_at_every_size(crop):
    files = [photo_files.jpeg(number=number) for number in range(12)] + [
        photo_files.encoded(photo_files.photo(), "PNG")
    ]
    pixels = EncodedPixels(files, 20, crop=crop)
    positions = np.array([12, 3, 3, 7, 0, 1, 2, 4, 5, 6])

    assert np.array_equal(pixels[positions], decode_photos([files[place] for place in positions], 20, crop=crop))
    assert np.array_equal(pixels.at(33)[positions], decode_photos([files[place] for place in positions], 33, crop=crop))
    assert np.array_equal(pixels.select([5, 6])[np.array([1])], decode_photos([files[6]], 20, crop=crop))
    assert pixels.select(positions).shape == (10, 20, 20, 3)


def test_a_batch_has_the_requested_photos_and_does_not_change_with_the_next():
    pixels = np.random.default_rng(5).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5], np.int32)
    feed = BatchIterator(InMemoryPhotos(pixels, labels, ("",) * 5, SOURCES, ("",) * 5), batch_size=3, seed=3)

    taken = [(positions, *feed.take(positions)) for epoch in range(2) for positions in feed.batches(epoch)]

    for positions, images, its in taken:
        assert images.dtype == "uint8"
        assert np.array_equal(images.numpy(), pixels[positions])
        assert np.array_equal(its.numpy(), labels[positions])
