"""How uncertain a share of right answers or an F1 score is: 95 % intervals."""

from __future__ import annotations

import math
from typing import Literal

__all__ = [
    "Change",
    "difference_interval",
    "f1_interval",
    "judge_change",
    "loss_interval",
    "mean_interval",
    "share_interval",
]

Change = Literal["better", "worse", "within noise"]

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def share_interval(correct: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score (J. Am. Stat. Assoc. 22, 1927).

    It is inside 0 to 1 and meaningful for few photos and for shares of 0 and 1, unlike p ± 2 standard errors.

    Args:
        correct: right answers, 0 to `n`.
        n: photos, more than 0; an effective number of photos need not be whole.

    Returns:
        The lower and the upper bound, 0 to 1.
    """
    share, square = correct / n, _Z * _Z / n
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return (0.0 if correct == 0 else middle - half), (1.0 if correct == n else middle + half)


def difference_interval(before: tuple[int, int], after: tuple[int, int]) -> tuple[float, float]:
    """Return the 95 % interval of the loss from one share to another, by Newcombe's method 10 (Stat. Med. 17, 1998).

    It treats the two as independent. For answers to the same photos that is cautious: the true interval is narrower.

    Args:
        before: right answers and photos of the first share.
        after: of the second.

    Returns:
        The bounds of ``before - after``, -1 to 1.
    """
    return loss_interval(
        (before[0] / before[1], share_interval(*before)),
        (after[0] / after[1], share_interval(*after)),
    )


def loss_interval(
    before: tuple[float, tuple[float, float]], after: tuple[float, tuple[float, float]]
) -> tuple[float, float]:
    """Return the 95 % interval of the loss from one figure to another, from the interval of each.

    It is Newcombe's method for figures of any kind (MOVER; Zou and Donner, Stat. Med. 27, 2008).

    Args:
        before: the first figure, 0 to 1, and its interval.
        after: the second.

    Returns:
        The bounds of ``before - after``, -1 to 1.
    """
    (first, (low_1, high_1)), (second, (low_2, high_2)) = before, after
    loss = first - second
    return loss - math.hypot(first - low_1, high_2 - second), loss + math.hypot(high_1 - first, second - low_2)


def judge_change(loss: tuple[float, float]) -> Change:
    """Judge a change by the interval of the loss: one that has 0 in it may be noise.

    It is the one rule for the gate's "may be noise" and for `orchard diff`.
    """
    low, high = loss
    if low > 0:
        return "worse"
    return "better" if high < 0 else "within noise"


def f1_interval(hits: int, misses: int) -> tuple[float, float]:
    """Return the 95 % interval of a class's F1 score, by Lam's indirect method (arXiv 2309.14621).

    Of the photos that are of the class or are taken for it, J are both. J is a share, and F1 = 2 J / (1 + J) grows with
    it: so the bounds of Wilson's interval of J become those of F1.

    Args:
        hits: photos of the class that are taken for it.
        misses: photos of the class that are taken for another, and of others that are taken for it; `hits` or `misses`
            is at least 1.

    Returns:
        The bounds, 0 to 1.
    """
    low, high = share_interval(hits, hits + misses)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def mean_interval(mean: float, variance: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean of shares, such as macro F1, from its estimated variance.

    The variance says of how many photos a plain share would have it: Wilson's interval for that number is inside 0 to 1
    and meaningful if everything or little is right, unlike ± 2 standard errors.

    Args:
        mean: the estimate, 0 to 1.
        variance: of the estimate; 0: it is not known, because all photos are alike.
        n: photos, at least 1; the effective number is never larger.
    """
    spread = mean * (1 - mean)
    effective = min(n, spread / variance) if spread > 0 and variance > 0 else n
    low, high = share_interval(mean * effective, effective)
    return max(0.0, low), min(1.0, high)
