"""LIME for photos (Ribeiro et al. 2016): which parts of a photo speak for a class, asked from outside.

The package `lime` does the same. It was last released in 2020 and needs twelve more packages.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from k_means import k_means

__all__ = ["explain", "superpixels"]

Pixels = npt.NDArray[np.uint8]

COLOUR_AGAINST_PLACE = 2.5
"""How much a difference of colour counts for a superpixel against one of place."""

KERNEL_WIDTH = 0.25
"""Samples that hide more count less: exp(-(distance / width)²), with the cosine distance from the whole photo."""


def superpixels(photo: Pixels, number: int = 40, rounds: int = 6) -> npt.NDArray[np.int64]:
    """Divide a photo into patches of similar colour, as SLIC does: k-means over colour and place.

    Args:
        photo: uint8[S, S, 3].
        number: about so many patches.
        rounds: of k-means.

    Returns:
        The patch of each pixel, int64[S, S], from 0.
    """
    size = len(photo)
    side = max(2, round(number**0.5))
    down, across = np.mgrid[:size, :size] / (size / side)  # one unit is the distance of neighbouring centres
    points = np.dstack([down, across, _blurred(photo) / 255 * COLOUR_AGAINST_PLACE]).reshape(-1, 5)
    starts = ((np.arange(side) + 0.5) * size / side).astype(int)
    centres = points.reshape(size, size, 5)[np.ix_(starts, starts)].reshape(-1, 5)
    nearest = k_means(points, centres, rounds)
    return np.unique(nearest, return_inverse=True)[1].reshape(size, size)


def _blurred(photo: Pixels, reach: int = 2) -> npt.NDArray[np.float64]:
    """The mean over a square around each pixel: single light spots make no patch of their own."""
    wide = np.pad(photo.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (2 * reach + 1, 2 * reach + 1), axis=(0, 1))
    return windows.mean(axis=(3, 4))


def explain(
    photo: Pixels,
    predict: Callable[[Pixels], npt.NDArray[np.floating]],
    label: int,
    *,
    samples: int = 200,
    seed: int = 7,
) -> npt.NDArray[np.float64]:
    """Estimate how much each patch of a photo adds to the probability of a class.

    Args:
        photo: uint8[S, S, 3].
        predict: from photos, uint8[N, S, S, 3], to probabilities, [N, classes].
        label: the class's number.
        samples: predictions; more make the estimate steadier.
        seed: decides what is hidden.

    Returns:
        float64[S, S]: above 0 speaks for the class, below 0 against it.
    """
    patches = superpixels(photo)
    shown = np.random.default_rng(seed).random((samples, patches.max() + 1)) < 0.5
    shown[0] = True
    grey = photo.mean(axis=(0, 1)).astype(np.uint8)
    varied = np.where(shown[:, patches][..., np.newaxis], photo, grey)
    probabilities = predict(varied)[:, label]
    cosine = np.sqrt(shown.mean(axis=1))  # of each sample with the whole photo
    root = np.sqrt(np.exp(-(((1 - cosine) / KERNEL_WIDTH) ** 2)))[:, np.newaxis]
    design = np.hstack([np.ones((samples, 1)), shown]) * root
    ridge = np.eye(design.shape[1]) * 1e-2
    effects = np.linalg.solve(design.T @ design + ridge, design.T @ (probabilities * root[:, 0]))
    return effects[1:][patches]
