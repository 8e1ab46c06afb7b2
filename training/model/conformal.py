"""When an answer is `unsure`: split conformal prediction, on photos that no weight was learned from.

A class is possible for a photo if its probability reaches a threshold. The threshold is such that the right class is
possible for at least a share of photos (the coverage), whatever the network, as long as later photos are like those of
the calibration (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; in the form of Angelopoulos and
Bates, arXiv:2107.07511, section 1). An answer is sure if exactly one class is possible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["UNCALIBRATED", "Calibration", "calibrate"]

UNCALIBRATED = 0.5
"""The threshold of a model without calibration photos: an answer is sure if its class has more than all others."""

LEAST_PHOTOS = 20
"""A source with fewer calibration photos sets no threshold."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and where it comes from.

    Attributes:
        threshold: the probability from which on a class is possible.
        coverage: the share of photos for which the right class is possible, at least.
        photos: the number of calibration photos of each source; those with fewer than `LEAST_PHOTOS` were not used.
        unsure: the share of the calibration photos whose answers are unsure, of each source that was used.
    """

    threshold: float
    coverage: float
    photos: dict[str, int]
    unsure: dict[str, float]


def calibrate(
    probabilities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    sources: Sequence[str],
    coverage: float,
) -> Calibration:
    """Find the threshold that holds for every source: the smallest of the sources' own.

    One threshold over all photos would promise its coverage for the largest source only, which here is the easiest one.

    Args:
        probabilities: float32[N, C], of photos that were not trained on.
        labels: int32[N], the right classes.
        sources: N names of sources.
        coverage: the share of photos for which the right class shall be possible, 0 to 1.
    """
    names = np.array(sources)
    photos = {name: int(np.sum(names == name)) for name in sorted(set(sources))}
    own = probabilities[np.arange(len(labels)), labels]
    thresholds = [_threshold(own[names == name], coverage) for name, count in photos.items() if count >= LEAST_PHOTOS]
    threshold = min(thresholds, default=UNCALIBRATED)
    unsure = np.sum(probabilities >= threshold, axis=1) != 1
    shares = {
        name: round(float(unsure[names == name].mean()), 6) for name, count in photos.items() if count >= LEAST_PHOTOS
    }
    return Calibration(threshold, coverage, photos, shares)


def _threshold(own: npt.NDArray[np.float32], coverage: float) -> float:
    """The probability that the right class reaches in a share of ``coverage`` of later photos.

    Of N scores in order, it is the one of rank ceil((N + 1) · coverage) from the top; with too few photos for that, 0.
    """
    rank = math.ceil((len(own) + 1) * coverage)
    return float(np.sort(own)[::-1][rank - 1]) if rank <= len(own) else 0.0
