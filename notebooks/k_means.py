"""k-means: groups of points that are near each other. scikit-learn's takes seconds to import."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["farthest_points", "k_means"]

Points = npt.NDArray[np.float64]


def farthest_points(points: Points, number: int) -> Points:
    """Choose points far from each other: the one nearest the mean, then always the one farthest from those chosen.

    Args:
        points: float64[N, D].
        number: how many, at most N.

    Returns:
        float64[number, D]; always the same for the same points.
    """
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    distances = np.full(len(points), np.inf)
    while len(chosen) < number:
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distances.argmax()))
    return points[chosen]


def k_means(points: Points, centres: Points, rounds: int) -> npt.NDArray[np.int64]:
    """Group points around centres, which move to the mean of their group in every round.

    Args:
        points: float64[N, D].
        centres: float64[K, D], where they start.
        rounds: at least 1.

    Returns:
        The centre of each point, int64[N], 0 to K-1. A centre may have no point.
    """
    for _ in range(rounds):
        distances = (centres**2).sum(
            axis=1
        ) - 2 * points @ centres.T  # without the part that is the same for all centres
        nearest = distances.argmin(axis=1)
        sums = np.stack([np.bincount(nearest, column, len(centres)) for column in points.T], axis=1)
        counts = np.bincount(nearest, minlength=len(centres))[:, np.newaxis]
        centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
    return nearest
