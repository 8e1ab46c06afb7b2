"""How figures and lists are written for people, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchard.intervals import share_interval

__all__ = ["accuracy_text", "figure_text", "percent", "shorten"]


def percent(share: float | None, digits: int = 2) -> str:
    """Write a share as a percentage, truncated: a share below a threshold never looks as if it reached it.

    Args:
        share: a fraction, 0 to 1; None: there is no figure.
        digits: digits after the point.
    """
    if share is None:
        return "–"
    scale = 10**digits
    # the addend corrects shares such as 0.29, whose product with 10 000 is 2 899.999…
    return f"{math.floor(share * 100 * scale + 1e-6) / scale:.{digits}f} %"


def accuracy_text(correct: int, n: int, digits: int = 2) -> str:
    """Write a share of right answers with its 95 % interval, which is rounded outwards: ``81.20 % (73.7–87.0)``.

    Args:
        correct: right answers.
        n: photos; 0: there is no figure.
        digits: digits after the point of the share; the interval has one.
    """
    if not n:
        return percent(None)
    return figure_text(correct / n, share_interval(correct, n), digits)


def figure_text(value: float | None, interval: tuple[float, float], digits: int = 2) -> str:
    """Write a figure between 0 and 1 with its 95 % interval, as `accuracy_text` does; None: there is no figure."""
    if value is None:
        return percent(None)
    low, high = math.floor(interval[0] * 1000 + 1e-6) / 10, math.ceil(interval[1] * 1000 - 1e-6) / 10
    return f"{percent(value, digits)} ({low:.1f}–{high:.1f})"


def shorten(names: Sequence[str], most: int) -> str:
    """Write the first `most` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
