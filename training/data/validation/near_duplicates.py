"""Photos that are almost equal although their pixels differ: re-encoded, resized, a second frame of one burst.

A perceptual hash says for each photo where it gets lighter or darker, to the right and downwards, on a grid of 16 × 16. The
mean colours of 8 × 8 parts keep apart what has the same shape. Only what matters is reported: a near-copy in the other
split, or with another class. Frames of one turntable are near-copies by design, and are only counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchard.orientation import read_orientation, turn
from training.data.turntable import read_turn
from training.stored_photos import open_stored

__all__ = ["DISTANCE", "NearDuplicates", "NearPhoto", "PhotoPrints", "thumbnail_pixels"]

SIDE = 32
GRID = 16
PARTS = 8
STEP = 2.0
"""Grey levels by which a field must be lighter than its neighbour: noise in even parts does not count."""

WORDS = 8
DISTANCE = 60
"""Near-copies differ in at most so many of the 480 bits. JPEG at quality 30, half the size or a crop of 1 % change up to 57;
unrelated photos of a shop differ in 170 or more, fruit of other classes on white in 27 or more, but in colour."""

COLOUR = 12.0
"""Near-copies differ in at most so many grey levels on average: 10 % brighter is about 9, at most 14."""

HUE_NOISE, HUE_SHARE = 2.0, 0.2
"""And the differences of their colours, red against green and green against blue, differ by at most so many levels and this share
of themselves: 10 % brighter is a tenth of them, a yellow fruit and a green one of the same shape a half, however small they are."""

FIRST = 2
"""Words that are compared with all others; the rest is compared where these are near."""

FIRST_DISTANCE = DISTANCE * FIRST // WORDS * 2
BLOCK = 256
"""Photos that are compared with others at a time, which bounds the memory."""

OTHERS = 16_384
"""The others that they are compared with at a time: differences of both take 32 MB."""

_ORDER = np.random.default_rng(0).permutation(WORDS * 64)

Pixels = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NearPhoto:
    """A photo with near-copies. Attributes: its digest, file name, split, class and source."""

    digest: str
    path: str
    split: str
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Near-copies that matter.

    Attributes:
        checked: the number of photos.
        groups: photos that are near-copies of each other, directly or through others, across splits or classes; the
            groups across splits first.
        across_splits: the number of test photos with a near-copy in train, by source. Without the frames of a turntable.
        across_classes: the number of photos with a near-copy of another class, by source.
        frames: the number of test frames of a turntable with a near-copy in train, of the same class and source.
    """

    checked: int
    groups: tuple[tuple[NearPhoto, ...], ...]
    across_splits: dict[str, int]
    across_classes: dict[str, int]
    frames: int

    @property
    def document(self) -> dict[str, Any]:
        """The counts and the groups, for validation.json."""
        groups = [[asdict(photo) for photo in group] for group in self.groups]
        counts = {"across_splits": self.across_splits, "across_classes": self.across_classes}
        return {"checked": self.checked, **counts, "turntable_frames": self.frames, "groups": groups}


def thumbnail_pixels(photo: bytes) -> Pixels:
    """Return an upright photo in uint8[32, 32, 3]; a large JPEG is decoded at a fraction of its size."""
    with open_stored(photo) as picture:
        drafted = picture.draft("RGB", (2 * SIDE, 2 * SIDE))
        box = drafted[1] if drafted else None  # the photo without the columns and rows that fill its last blocks
        small = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.HAMMING, box=box))
    return np.ascontiguousarray(turn(small, read_orientation(photo)))


@dataclass(slots=True)
class PhotoPrints:
    """Collects the hashes of photos, 256 bytes each, and finds near-copies."""

    _photos: list[NearPhoto] = field(default_factory=list)
    _hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    _colours: list[Pixels] = field(default_factory=list)

    def add(self, photos: Sequence[NearPhoto], pixels: Sequence[Pixels]) -> None:
        """Add photos with what `thumbnail_pixels` returned of each."""
        if photos:
            stacked = np.stack(pixels)
            self._photos += photos
            self._hashes.append(_hashes(stacked))
            self._colours.append(_parts(stacked, PARTS).astype(np.uint8).reshape(len(photos), -1))

    def find(self) -> NearDuplicates:
        """Find the near-copies; the time grows with the square of the number of photos, the memory does not."""
        if not self._photos:
            return NearDuplicates(0, (), {}, {}, 0)
        hashes, colours = np.concatenate(self._hashes), np.concatenate(self._colours)
        facts = _facts(self._photos)
        order = np.argsort(colours.mean(axis=1), kind="stable")
        found = _FoundPairs(len(order))
        for one, other in _pairs(hashes[order], colours[order], facts[order]):
            found.add(order[one], order[other], facts)
        return found.result(self._photos)


def _parts(pixels: Pixels, number: int) -> npt.NDArray[np.float32]:
    size = SIDE // number
    means: npt.NDArray[np.float32] = pixels.reshape(-1, number, size, number, size, 3).mean((2, 4), np.float32)
    return means


def _hashes(pixels: Pixels) -> npt.NDArray[np.uint64]:
    """Return uint64[N, 8]: 240 bits to the right, 240 downwards, 32 zeros, in an order that spreads them over the words."""
    grid = _parts(pixels, GRID) @ np.array([0.299, 0.587, 0.114], np.float32)
    right = grid[:, :, 1:] - grid[:, :, :-1] > STEP
    down = grid[:, 1:] - grid[:, :-1] > STEP
    count = len(grid)
    bits = np.zeros((count, WORDS * 64), bool)
    bits[:, : 2 * GRID * (GRID - 1)] = np.concatenate([right.reshape(count, -1), down.reshape(count, -1)], axis=1)
    return np.packbits(np.ascontiguousarray(bits[:, _ORDER]), axis=1).view(np.uint64)


def _facts(photos: Sequence[NearPhoto]) -> npt.NDArray[np.int32]:
    """Return int32[N, 3]: whether it is a test photo, its class, and its turntable (its source), -1 for none."""
    labels = {label: number for number, label in enumerate(sorted({photo.label for photo in photos}))}
    sources = {source: number for number, source in enumerate(sorted({photo.source for photo in photos}))}
    rows = [
        (photo.split == "test", labels[photo.label], sources[photo.source] if read_turn(photo.path) else -1)
        for photo in photos
    ]
    return np.array(rows, np.int32)


def _pairs(hashes: npt.NDArray[np.uint64], colours: Pixels, facts: npt.NDArray[np.int32]) -> Iterator[tuple[Ids, Ids]]:
    """Yield positions of near-copies across splits or classes. The photos are sorted by their mean colour."""
    means = colours.mean(axis=1)
    for begin in range(0, len(hashes), BLOCK):
        rows = slice(begin, begin + BLOCK)
        last = int(np.searchsorted(means, means[rows][-1] + COLOUR, side="right"))
        for start in range(begin, last, OTHERS):
            others = slice(start, min(start + OTHERS, last))
            near = np.zeros((len(hashes[rows]), len(hashes[others])), np.uint8)
            for word in range(FIRST):
                near += np.bitwise_count(hashes[rows, None, word] ^ hashes[None, others, word])
            wanted = near <= FIRST_DISTANCE
            split, label = (facts[rows, None, column] != facts[None, others, column] for column in (0, 1))
            one, other = np.nonzero(wanted & (split | label))
            one, other = one + begin, other + start
            one, other = one[one < other], other[one < other]
            for first in range(0, len(one), 65_536):
                yield _near(one[first : first + 65_536], other[first : first + 65_536], hashes, colours)


def _near(one: Ids, other: Ids, hashes: npt.NDArray[np.uint64], colours: Pixels) -> tuple[Ids, Ids]:
    distance = np.bitwise_count(hashes[one] ^ hashes[other]).sum(axis=1, dtype=np.int32)
    one, other = one[distance <= DISTANCE], other[distance <= DISTANCE]
    pair = [colours[each].astype(np.int16).reshape(len(each), PARTS * PARTS, 3) for each in (one, other)]
    hues = [np.diff(each, axis=2) for each in pair]  # green against red, and blue against green
    hue = np.abs(hues[0] - hues[1]).mean(axis=(1, 2))
    strength = sum(np.abs(each).mean(axis=(1, 2)) for each in hues) / 2
    alike = (np.abs(pair[0] - pair[1]).mean(axis=(1, 2)) <= COLOUR) & (hue <= HUE_NOISE + HUE_SHARE * strength)
    return one[alike], other[alike]


class _FoundPairs:
    """Joins pairs to groups, and marks what each photo has a near-copy in."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)
        self._marks = np.zeros((count, 3), bool)  # in the other split, of another class, on the same turntable

    def add(self, one: Ids, other: Ids, facts: npt.NDArray[np.int32]) -> None:
        split = facts[one, 0] != facts[other, 0]
        label = facts[one, 1] != facts[other, 1]
        frames = ~label & (facts[one, 2] >= 0) & (facts[one, 2] == facts[other, 2])
        for column, chosen in enumerate((split & ~frames, label, frames)):
            self._marks[one[chosen], column] = self._marks[other[chosen], column] = True
        for left, right in zip(one[~frames].tolist(), other[~frames].tolist(), strict=True):
            self._parent[self._root(left)] = self._root(right)

    def _root(self, position: int) -> int:
        while self._parent[position] != position:
            self._parent[position] = self._parent[self._parent[position]]
            position = int(self._parent[position])
        return position

    def result(self, photos: Sequence[NearPhoto]) -> NearDuplicates:
        splits, classes, frames = self._marks.T
        members: dict[int, list[int]] = {}
        for position in np.flatnonzero(splits | classes).tolist():
            members.setdefault(self._root(position), []).append(position)
        groups = [
            (not splits[group].any(), sorted((photos[position] for position in group), key=_place))
            for group in members.values()
        ]
        ordered = sorted(groups, key=lambda item: (item[0], [_place(photo) for photo in item[1]]))
        is_test = np.array([photo.split == "test" for photo in photos])
        return NearDuplicates(
            len(photos),
            tuple(tuple(group) for _, group in ordered),
            _by_source(photos, splits & is_test),
            _by_source(photos, classes),
            int((frames & is_test).sum()),
        )


def _place(photo: NearPhoto) -> tuple[str, str, str, str]:
    return photo.split, photo.label, photo.path, photo.digest


def _by_source(photos: Sequence[NearPhoto], marked: npt.NDArray[np.bool_]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for position in np.flatnonzero(marked).tolist():
        source = photos[position].source
        counts[source] = counts.get(source, 0) + 1
    return dict(sorted(counts.items()))
