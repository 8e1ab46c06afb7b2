"""Embeddings are computed once: the cache knows all that decides them, and a damaged file of it is computed again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pytest

from orchard.errors import IntegrityError
from orchard.reporter import Reporter
from training.model import embedding
from training.model.embedding import BATCH, embed

PHOTOS = 2 * BATCH + 5


@dataclass
class MeanColour:
    """A backbone that sees the mean colour."""

    name: str = "colour"
    digest: str = "0" * 64
    size: int = 4
    batches: list[int] = field(default_factory=list)

    def __call__(self, pixels):
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (self.size, self.size, 3)
        self.batches.append(len(pixels))
        return pixels.mean(axis=(1, 2), dtype=np.float32)


@dataclass
class DrawnPixels:
    """Photos of one colour each, in batches of any sizes."""

    sizes: tuple[int, ...] = (PHOTOS,)
    preprocessing: str = "drawn"
    digests: list[str] = field(default_factory=lambda: [f"photo {number}" for number in range(PHOTOS)])

    def batches(self, size):
        colours = [hashlib.sha256(digest.encode()).digest()[:3] for digest in self.digests]
        whole = np.array([np.full((size, size, 3), list(colour), np.uint8) for colour in colours])
        yield from np.split(whole, np.cumsum(self.sizes)[:-1])


def embedded(cache, extractor=None, photos=None):
    extractor = extractor or MeanColour()
    return embed(extractor, photos or DrawnPixels(), Reporter(), cache=cache), extractor.batches


def test_batches_of_any_size_give_the_same_rows_in_bounded_batches(tmp_path):
    whole, batches = embedded(None)

    assert (whole.shape, whole.dtype) == ((PHOTOS, 3), np.float32)
    assert batches == [BATCH, BATCH, 5]
    for sizes in ((1, 40, 0, 28), (33, 36), (1,) * PHOTOS):
        assert np.array_equal(embedded(None, photos=DrawnPixels(sizes))[0], whole)
    assert not list(tmp_path.iterdir())


def test_second_call_computes_nothing(tmp_path):
    first, _ = embedded(tmp_path)
    second, batches = embedded(tmp_path, photos=DrawnPixels((7, PHOTOS - 7)))

    assert batches == []
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("extractor", "photos"),
    [
        (MeanColour(digest="1" * 64), DrawnPixels()),
        (MeanColour(size=8), DrawnPixels()),
        (MeanColour(), DrawnPixels(preprocessing="drawn, flipped")),
        (MeanColour(), DrawnPixels(digests=[f"photo {number}" for number in range(1, PHOTOS + 1)])),
        (MeanColour(), DrawnPixels(digests=[f"photo {number}" for number in reversed(range(PHOTOS))])),
    ],
    ids=["weights", "size", "preprocessing", "photos", "order"],
)
def test_anything_else_that_decides_the_embeddings_is_another_file(tmp_path, extractor, photos):
    embedded(tmp_path)
    _, batches = embedded(tmp_path, extractor, photos)

    assert sum(batches) == PHOTOS
    assert len(list(tmp_path.glob("*.npz"))) == 2


def flip_a_byte(path, other):
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


DAMAGE = {
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path, other: path.write_bytes(b""),
    "flipped": flip_a_byte,
    "text": lambda path, other: path.write_text("embeddings"),
    "pickled": lambda path, other: np.savez(path, key="", embeddings=np.array([None])),
    "another": lambda path, other: path.write_bytes(other.read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_of_the_cache_is_computed_again(tmp_path, capsys, damage):
    whole, _ = embedded(tmp_path)
    (path,) = tmp_path.glob("*.npz")
    embedded(tmp_path, MeanColour(digest="1" * 64))
    (other,) = set(tmp_path.glob("*.npz")) - {path}
    DAMAGE[damage](path, other)

    again, batches = embedded(tmp_path)

    assert np.array_equal(again, whole)
    assert sum(batches) == PHOTOS
    assert f"{path} is damaged" in capsys.readouterr().err
    assert embedded(tmp_path)[1] == []


def test_interrupted_computation_leaves_nothing(tmp_path):
    class Interrupted(MeanColour):
        def __call__(self, pixels):
            if self.batches:
                raise KeyboardInterrupt
            return super().__call__(pixels)

    with pytest.raises(KeyboardInterrupt):
        embedded(tmp_path, Interrupted())

    assert not list(tmp_path.iterdir())


def test_cache_is_bounded_and_what_was_read_last_stays(tmp_path, monkeypatch):
    for digest in "123":
        embedded(tmp_path, MeanColour(digest=digest * 64))
    (size,) = {path.stat().st_size for path in tmp_path.iterdir()}
    embedded(tmp_path, MeanColour(digest="1" * 64))
    monkeypatch.setattr(embedding, "KEEP_BYTES", 2 * size)

    embedded(tmp_path, MeanColour(digest="4" * 64))

    assert len(list(tmp_path.glob("*.npz"))) == 2
    assert embedded(tmp_path, MeanColour(digest="1" * 64))[1] == []


def test_other_number_of_photos_and_values_that_are_not_finite_are_errors(tmp_path):
    class Broken(MeanColour):
        def __call__(self, pixels):
            return super().__call__(pixels) * np.float32(np.nan)

    class Shorter(DrawnPixels):
        def batches(self, size):
            yield next(super().batches(size))[:-1]

    with pytest.raises(IntegrityError, match="not finite"):
        embedded(tmp_path, Broken())
    with pytest.raises(IntegrityError, match=f"{PHOTOS - 1} photos were read, expected {PHOTOS}"):
        embedded(tmp_path, photos=Shorter())
    assert not list(tmp_path.iterdir())
