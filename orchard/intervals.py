"""How uncertain a share of right answers is: 95 % intervals of counts."""

from __future__ import annotations

import math

__all__ = ["difference_interval", "share_interval"]

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def share_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score (J. Am. Stat. Assoc. 22, 1927).

    It is inside 0 to 1 and meaningful for few photos and for shares of 0 and 1, unlike p ± 2 standard errors.

    Args:
        correct: right answers, 0 to `n`.
        n: photos, at least 1.

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
    first, second = before[0] / before[1], after[0] / after[1]
    (low_1, high_1), (low_2, high_2) = share_interval(*before), share_interval(*after)
    loss = first - second
    return loss - math.hypot(first - low_1, high_2 - second), loss + math.hypot(high_1 - first, second - low_2)
