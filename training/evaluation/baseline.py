"""The simpler model that any net must beat: the class of the nearest training photo, by 20 × 20 pixels.

It knows nothing but colours and places, takes seconds, and is right on 96 of 100 turntable photos (a test photo there
has near-copies in training) and on few from a shop. A net that does not beat it has learned nothing worth serving.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.evaluation.scores import ScoredPhoto, score
from training.evaluation.test_photos import TestPhoto, stream_photos

__all__ = ["NAME", "judge_nearest", "shrink"]

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
    with Image.open(io.BytesIO(image)) as picture:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1)


def _nearest(photos: Pixels, known: Pixels) -> npt.NDArray[np.intp]:
    """Index of the known row nearest to each photo; in blocks, so that memory stays at tens of MB."""
    length = np.einsum("ij,ij->i", known, known)
    return np.concatenate(
        [
            (length - 2 * (photos[start : start + BLOCK] @ known.T)).argmin(axis=1)
            for start in range(0, len(photos), BLOCK)
        ]
    )


def _shrink_all(photos: Iterable[TestPhoto]) -> tuple[list[str], Pixels]:
    """Labels and pixels of photos, ordered by identity: of equally near photos the first counts, whatever the shards."""
    found: list[tuple[str, str, npt.NDArray[np.uint8]]] = []
    waiting = iter(photos)
    with ThreadPoolExecutor(THREADS) as pool:  # Pillow lets go of the interpreter while it decodes
        while part := list(itertools.islice(waiting, BLOCK)):
            pixels = pool.map(shrink, (photo.image for photo in part))
            found += [(photo.sha256, photo.label, row) for photo, row in zip(part, pixels, strict=True)]
    found.sort(key=lambda item: item[0])
    rows = np.array([row for _, _, row in found], np.float32).reshape(-1, SIDE * SIDE * 3)
    return [label for _, label, _ in found], rows - 127.5  # centred: float32 keeps small distances apart


def judge_nearest(folder: Path, photos: Sequence[TestPhoto], classes: Sequence[str]) -> dict[str, Any] | None:
    """Judge the baseline on test photos.

    Args:
        folder: the dataset folder, whose train split is all that the baseline knows.
        photos: the test photos, ordered by identity.
        classes: every class.

    Returns:
        ``name`` and ``slices`` (as `scores.score` gives them); None if there are no training photos.
    """
    labels, known = _shrink_all(stream_photos(folder, "train"))
    if not labels:
        return None
    _, asked = _shrink_all(photos)
    guesses = [labels[index] for index in _nearest(asked, known)]
    answers = [
        ScoredPhoto(photo.sha256, photo.path, photo.source, photo.label, guess, 1.0, float(guess == photo.label))
        for photo, guess in zip(photos, guesses, strict=True)
    ]
    return {"name": NAME, "slices": score(answers, classes)}
