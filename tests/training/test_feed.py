from __future__ import annotations

import numpy as np

from training.model.in_memory import InMemoryPhotos
from training.model.trainer import BatchIterator

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


def test_a_batch_has_the_requested_photos_and_does_not_change_with_the_next():
    pixels = np.random.default_rng(5).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5], np.int32)
    feed = BatchIterator(InMemoryPhotos(pixels, labels, ("",) * 5, SOURCES, ("",) * 5), batch_size=3, seed=3)

    taken = [(positions, *feed.take(positions)) for epoch in range(2) for positions in feed.batches(epoch)]

    for positions, images, its in taken:
        assert images.dtype == "uint8"
        assert np.array_equal(images.numpy(), pixels[positions])
        assert np.array_equal(its.numpy(), labels[positions])
