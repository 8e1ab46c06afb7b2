"""Figures with their 95 % intervals, as documents have them: ``{"value", "low", "high"}``, from counts of photos."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchard.intervals import Change, f1_interval, judge_change, loss_interval, share_interval

__all__ = ["Estimate", "estimate", "estimate_class", "estimate_share", "judge_estimates", "loss_of"]

Estimate = dict[str, float]
"""A figure, 0 to 1: ``value``, ``low`` and ``high``."""

_SCALE = 10**6


def estimate(value: float, interval: tuple[float, float]) -> Estimate:
    """Return a figure with six digits; its interval is rounded outwards."""
    low, high = math.floor(interval[0] * _SCALE + 1e-3), math.ceil(interval[1] * _SCALE - 1e-3)
    return {"value": round(value, 6), "low": low / _SCALE, "high": high / _SCALE}


def estimate_share(part: int, whole: int) -> Estimate | None:
    """Return a share of photos with Wilson's interval, or None if there are no photos."""
    return estimate(part / whole, share_interval(part, whole)) if whole else None


def estimate_class(n: int, correct: int, predicted: int) -> dict[str, Estimate | None]:
    """Return ``precision``, ``recall`` and ``f1`` of a class.

    Args:
        n: photos of the class.
        correct: those of them that are right.
        predicted: photos that are taken for the class.

    Returns:
        None where there is nothing to measure: a class without photos has no F1.
    """
    f1 = f1_interval(correct, n + predicted - 2 * correct) if n else None
    return {
        "precision": estimate_share(correct, predicted),
        "recall": estimate_share(correct, n),
        "f1": estimate(2 * correct / (n + predicted), f1) if f1 else None,
    }


def loss_of(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float, float]:
    """Return the 95 % interval of ``before - after`` of two figures; see `orchard.intervals.loss_interval`."""
    first, second = ((item["value"], (item["low"], item["high"])) for item in (before, after))
    return loss_interval(first, second)


def judge_estimates(before: Mapping[str, float], after: Mapping[str, float]) -> Change:
    """Judge the change from one figure to another, as the gate does."""
    return judge_change(loss_of(before, after))
