"""Embeddings as real photos have them: classes, a few visits of each, and in each visit bursts of nearly equal photos."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SimulatedVisits", "flip", "simulate"]


@dataclass(frozen=True, slots=True)
class SimulatedVisits:
    """N photos, in any order.

    Attributes:
        features: float32[N, C].
        labels: int32[N], what they show.
        visits: int32[N], numbered over all classes.
        bursts: int32[N], numbered over all classes.
        paths: N file names.
        digests: N SHA-256.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    visits: npt.NDArray[np.int32]
    bursts: npt.NDArray[np.int32]
    paths: list[str]
    digests: list[str]


def simulate(
    *,
    classes: int = 8,
    visits: int = 5,
    bursts: int = 4,
    photos: int = 3,
    width: int = 64,
    spread: tuple[float, float, float, float] = (1.0, 0.8, 0.7, 0.15),
    seed: int = 1,
) -> SimulatedVisits:
    """Draw photos; `spread`: how far classes, visits of a class, bursts of a visit and photos of a burst are apart."""
    draw = np.random.default_rng(seed)
    shape = (classes, visits, bursts, photos)
    parts = [draw.normal(0, far, (*shape[: level + 1], width)) for level, far in enumerate(spread)]
    features = sum(part.reshape(*part.shape[:-1], *[1] * (3 - level), width) for level, part in enumerate(parts))
    count = classes * visits * bursts * photos
    numbers = np.arange(count, dtype=np.int32)
    paths = [f"photo {number}.jpg" for number in numbers]
    return SimulatedVisits(
        np.broadcast_to(features, (*shape, width)).reshape(count, width).astype(np.float32),
        numbers // (visits * bursts * photos),
        numbers // (bursts * photos),
        numbers // photos,
        paths,
        [hashlib.sha256(path.encode()).hexdigest() for path in paths],
    )


def flip(labels: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_], classes: int) -> npt.NDArray[np.int32]:
    """Give the chosen photos (bool[N]) another label each."""
    steps = 1 + np.random.default_rng(5).integers(0, classes - 1, len(labels))
    return np.where(chosen, (labels + steps) % classes, labels).astype(np.int32)
