"""How figures and lists are written for people, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchard.intervals import share_interval

__all__ = [
    "accuracy_text",
    "figure_text",
    "first_lines",
    "interval_text",
    "list_ranges",
    "percent",
    "points",
    "points_interval",
    "shorten",
    "threshold_text",
]

_TOLERANCE = 1e-6
"""Corrects binary fractions before they are cut: 0.29 · 1000 is 289.999…"""


def percent(share: float | None) -> str:
    """Write a share as a percentage with one digit after the point: ``92.9 %``.

    It is truncated: a share below a threshold never looks as if it reached it.

    Args:
        share: a fraction, 0 to 1; None: there is no figure.
    """
    if share is None:
        return "–"
    return f"{math.floor(share * 1000 + _TOLERANCE) / 10:.1f} %"


def threshold_text(value: float) -> str:
    """Write a threshold, 0 to 1, as a percentage with the digits that somebody gave it: ``99.95 %``."""
    return f"{100 * value:.6g} %"


def interval_text(interval: tuple[float, float]) -> str:
    """Write an interval of shares in per cent, rounded outwards: ``73.7–87.0``."""
    low, high = _outwards(interval)
    return f"{low:.1f}–{high:.1f}"


def accuracy_text(correct: int, n: int) -> str:
    """Write a share of right answers with its 95 % interval: ``81.2 % (73.7–87.0)``.

    Args:
        correct: right answers.
        n: photos; 0: there is no figure.
    """
    if not n:
        return percent(None)
    return figure_text(correct / n, share_interval(correct, n))


def figure_text(value: float | None, interval: tuple[float, float]) -> str:
    """Write a figure between 0 and 1 with its 95 % interval, as `accuracy_text` does; None: there is no figure."""
    return percent(None) if value is None else f"{percent(value)} ({interval_text(interval)})"


def points(difference: float | None) -> str:
    """Write a difference of two shares, -1 to 1, in percentage points: ``+1.2``, ``−0.4``; ``±0`` if there is none."""
    if difference is None:
        return "–"
    return "±0" if difference == 0 else _signed(100 * difference)


def points_interval(interval: tuple[float, float]) -> str:
    """Write the interval of a difference of two shares in percentage points, rounded outwards: ``−0.6 to +3.1``."""
    return " to ".join(map(_signed, _outwards(interval)))


def list_ranges(numbers: Sequence[int], most: int = 8) -> str:
    """Write ascending numbers as ranges: ``1 to 4, 7``; at most `most` of them, the last ones."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
    return ("… " if len(texts) > most else "") + ", ".join(texts[-most:])


def _outwards(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    return math.floor(low * 1000 + _TOLERANCE) / 10, math.ceil(high * 1000 - _TOLERANCE) / 10


def _signed(number: float) -> str:
    return f"{number:+.1f}".replace("-", "\N{MINUS SIGN}")


def first_lines(lines: Sequence[str], what: str, most: int = 40) -> list[str]:
    """Return the first lines, and one that says how many more there are; `what` they are, in plural."""
    more = [f"… and {len(lines) - most} more {what}: --json has all"] if len(lines) > most else []
    return [*lines[:most], *more]


def shorten(names: Sequence[str], most: int) -> str:
    """Write the first `most` names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
