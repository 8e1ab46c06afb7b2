"""A linear probe: logistic regression on standardised embeddings. It shows in seconds what a backbone's features are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Dense", "LinearProbe", "fit_logistic"]

STRENGTH = 0.01
"""The inverse of the regularisation. Embeddings have more numbers than there are photos: weaker fits learn by heart."""

STEPS = 2000
ABSENT = -20.0
"""The bias of a class without a photo, far below those of the others."""

Array = npt.NDArray[np.float32]
Dense = tuple[Array, Array]
"""Kernel, float32[F, C], and bias, float32[C]."""

Positions = npt.NDArray[np.integer[Any]]


class LinearProbe:
    """Fits on some photos and predicts others, as `training.model.cross_validation` calls it.

    Args:
        features: float32[N, C], embeddings of all photos.
        labels: int32[N], index into the classes.
        classes: the number of classes.
    """

    def __init__(self, features: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], classes: int) -> None:
        self._features, self._labels, self._classes = features, labels, classes

    def __call__(self, train: Positions, test: Positions) -> npt.NDArray[np.float64]:
        """Fit on the photos at `train` and return the probabilities of those at `test`: float64[n, classes].

        A class without a photo in `train` has the probability 0.
        """
        known = np.unique(self._labels[train])
        kernel, bias = fit_logistic(self._features[train], self._labels[train], self._classes, STRENGTH)
        logits = (self._features[test].astype(np.float64) @ kernel + bias)[:, known]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        result = np.zeros((len(test), self._classes))
        result[:, known] = powers / powers.sum(axis=1, keepdims=True)
        return result


def fit_logistic(features: Array, labels: npt.NDArray[np.int32], classes: int, strength: float) -> Dense:
    """Fit a multinomial logistic regression on standardised features, and undo the standardisation in its weights.

    Args:
        features: float32[N, F].
        labels: int32[N], from 0 to `classes` - 1; a class may be missing.
        classes: C.
        strength: inverse of the regularisation, as scikit-learn's ``C``.

    Returns:
        The weights of the dense layer from features to logits.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    kernel, bias = np.zeros((features.shape[1], classes)), np.full(classes, ABSENT)
    present = np.unique(labels)
    if len(present) == 1:
        bias[present] = 0
        return kernel.astype(np.float32), bias.astype(np.float32)
    wide = features.astype(np.float64)
    with threadpool_limits(1):  # two threads wait for each other: 20 times as slow where other programs run
        scaler = StandardScaler().fit(wide)
        regression = LogisticRegression(C=strength, max_iter=STEPS).fit(scaler.transform(wide), labels)
    weights, offsets = regression.coef_, regression.intercept_
    if len(present) == 2:  # of two classes it has the logit of the second one, against 0
        weights, offsets = np.concatenate([-weights, weights]) / 2, np.concatenate([-offsets, offsets]) / 2
    kernel[:, present] = (weights / scaler.scale_).T
    bias[present] = offsets - (weights / scaler.scale_) @ scaler.mean_
    return kernel.astype(np.float32), bias.astype(np.float32)
