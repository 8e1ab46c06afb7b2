"""The loss of logits at their best temperature, by which heads are compared that were trained to be differently sure.

A head that was trained with label smoothing is less sure than it is right, so its plain cross entropy is larger than that
of a head without, however well it tells classes apart. One factor of all logits takes that away (arXiv:1706.04599).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["calibrated_loss"]

RANGE = 100.0
"""The logits are divided by 1/100 to 100."""


def calibrated_loss(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> float:
    """Return the smallest mean cross entropy over all temperatures.

    Args:
        logits: float32[N, C].
        labels: int32[N], index into the C classes.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    wide, rows = logits.astype(np.float64), np.arange(len(labels))

    def loss(log_temperature: float) -> Any:
        return -log_softmax(wide / np.exp(log_temperature), axis=1)[rows, labels].mean()

    bound = np.log(RANGE)
    return float(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").fun)
