"""The baseline that any network must beat: the class of the nearest training photo, by 20 × 20 pixels.

It uses only colours and positions and takes seconds. It is right on 96 of 100 turntable photos, because a test photo
there has near-copies in training, and on few shop photos. A network that does not beat it is not worth serving.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from orchard.orientation import read_orientation, turn
from training.evaluation.scores import ScoredPhoto, score
from training.evaluation.test_photos import TestPhoto, stream_photos
from training.stored_photos import open_stored

__all__ = ["NAME", "evaluate_baseline", "shrink"]

NAME = "nearest training photo, 20 × 20 pixels"
SIDE = 20
BLOCK = 512
THREADS = 2

Pixels = npt.NDArray[np.float32]


def shrink(image: bytes) -> npt.NDArray[np.uint8]:
    """Decode a photo and shrink it with a box filter.

    Returns:
        uint8[1200]: 20 × 20 RGB pixels.
    """
    with open_stored(image) as picture:
        small = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
    upright: npt.NDArray[np.uint8] = turn(small, read_orientation(image))
    return upright.reshape(-1)


def _nearest(photos: Pixels, references: Pixels) -> npt.NDArray[np.intp]:
    """Index of the reference row nearest to each photo; in blocks, to limit memory to tens of MB."""
    length = np.einsum("ij,ij->i", references, references)
    return np.concatenate(
        [
            (length - 2 * (photos[start : start + BLOCK] @ references.T)).argmin(axis=1)
            for start in range(0, len(photos), BLOCK)
        ]
    )


def _shrink_all(photos: Iterable[TestPhoto]) -> tuple[list[str], Pixels]:
    """Labels and pixels of photos, sorted by SHA-256: the first of equally near photos does not depend on the shards."""
    shrunk: list[tuple[str, str, npt.NDArray[np.uint8]]] = []
    remaining = iter(photos)
    with ThreadPoolExecutor(THREADS) as pool:  # Pillow releases the GIL while it decodes
        while part := list(itertools.islice(remaining, BLOCK)):
            pixels = pool.map(shrink, (photo.image for photo in part))
            shrunk += [(photo.sha256, photo.label, row) for photo, row in zip(part, pixels, strict=True)]
    shrunk.sort(key=lambda item: item[0])
    rows = np.array([row for _, _, row in shrunk], np.float32).reshape(-1, SIDE * SIDE * 3)
    return [label for _, label, _ in shrunk], rows - 127.5  # centred: float32 keeps small distances apart


def evaluate_baseline(folder: Path, photos: Sequence[TestPhoto], classes: Sequence[str]) -> dict[str, Any] | None:
    """Evaluate the baseline on test photos.

    Args:
        folder: the dataset folder, whose train split has the references.
        photos: the test photos, sorted by SHA-256.
        classes: every class.

    Returns:
        ``name`` and ``slices`` (as `scores.score` gives them); None if there are no training photos.
    """
    labels, references = _shrink_all(stream_photos(folder, "train"))
    if not labels:
        return None
    _, pixels = _shrink_all(photos)
    guesses = [labels[index] for index in _nearest(pixels, references)]
    answers = [
        ScoredPhoto(photo.sha256, photo.path, photo.source, photo.label, guess, 1.0, float(guess == photo.label))
        for photo, guess in zip(photos, guesses, strict=True)
    ]
    return {"name": NAME, "slices": score(answers, classes)}
