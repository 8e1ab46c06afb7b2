"""The last layer of a network, and what it reads: one dense layer from features to logits, usually after a mean.

A network whose features are the mean over all positions explains itself: the mean of each position's own logit is the
logit (`training.model.savedmodel_export`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

__all__ = ["Head", "find_head"]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a network.

    Attributes:
        dense: the layer from features to logits.
        features: what it reads without dropout, float32[N, F].
        positions: what the features are the mean of, float32[N, H, W, F]; None: they are no such mean.
    """

    dense: keras.layers.Dense
    features: Any
    positions: Any | None

    @property
    def weights(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The kernel, float32[F, C], and the bias, float32[C], of the dense layer."""
        kernel = np.asarray(self.dense.kernel)
        return kernel, np.asarray(self.dense.bias) if self.dense.use_bias else np.zeros(kernel.shape[1], np.float32)


def find_head(model: keras.Model) -> Head:
    """Find the head of a network that ends in a dense layer and a softmax."""
    dense = _made_by(_made_by(model.output).input)
    features = dense.input
    while isinstance(_made_by(features), keras.layers.Dropout):
        features = _made_by(features).input
    pooling = _made_by(features)
    is_mean = isinstance(pooling, keras.layers.GlobalAveragePooling2D) and not pooling.keepdims
    return Head(dense, features, pooling.input if is_mean else None)


def _made_by(tensor: Any) -> Any:
    """The layer whose output a tensor is."""
    return tensor._keras_history.operation
