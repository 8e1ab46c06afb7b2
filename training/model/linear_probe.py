"""A linear probe: logistic regression on standardised embeddings. It shows in seconds what a backbone's features are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LinearProbe"]

STRENGTH = 0.01
"""The inverse of the regularisation. Embeddings have more numbers than there are photos: weaker fits learn by heart."""

STEPS = 2000

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
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        result = np.zeros((len(test), self._classes))
        known = np.unique(self._labels[train])
        if len(known) == 1:  # nothing to choose between, which the regression refuses
            result[:, known] = 1
            return result
        known_features = self._features[train].astype(np.float64)
        with threadpool_limits(1):  # two threads wait for each other: 20 times as slow where other programs run
            scaler = StandardScaler().fit(known_features)
            regression = LogisticRegression(C=STRENGTH, max_iter=STEPS)
            regression.fit(scaler.transform(known_features), self._labels[train])
            result[:, known] = regression.predict_proba(scaler.transform(self._features[test].astype(np.float64)))
        return result
