"""Precision, recall, F1 score and top-3 accuracy by source and class, each with its 95 % interval.

- Precision, recall, accuracy and top-3 accuracy are shares of photos: Wilson's interval.
- The F1 score of a class: `orchard.intervals.f1_interval`.
- Macro F1, the mean over the classes that have photos: its variance is that of the delta method (Takahashi et al., Appl.
  Intell. 52, 2022), its interval is `orchard.intervals.mean_interval`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchard.estimates import Estimate, estimate, estimate_class, estimate_share
from orchard.intervals import mean_interval
from training.evaluation.scores import ScoredPhoto, split_by_source

__all__ = ["TOP", "measure_figures"]

TOP = 3
"""Top-3 accuracy: the truth is one of the three most probable classes. It has no meaning for a model of three classes."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Counts of a slice by class: photos, photos taken for it, right answers, photos with it in the top three."""

    confusion: Counter[tuple[str, str]]
    seen: Counter[str]
    taken: Counter[str]
    right: Counter[str]
    top: Counter[str]
    ranked: bool

    @classmethod
    def of(cls, answers: Sequence[ScoredPhoto], classes: int) -> _Counts:
        return cls(
            Counter((answer.label, answer.guess) for answer in answers),
            Counter(answer.label for answer in answers),
            Counter(answer.guess for answer in answers),
            Counter(answer.label for answer in answers if answer.correct),
            Counter(answer.label for answer in answers if (answer.truth_rank or TOP + 1) <= TOP),
            classes > TOP and any(answer.truth_rank for answer in answers),
        )

    def f1(self, label: str) -> float:
        return 2 * self.right[label] / (self.seen[label] + self.taken[label])


def measure_figures(answers: Sequence[ScoredPhoto], classes: Sequence[str]) -> dict[str, Any]:
    """Measure a model's answers, by source and class.

    Args:
        answers: one for each photo.
        classes: every class, with or without photos.

    Returns:
        For each source and for ``all``: ``n``, ``accuracy``, ``top3``, ``macro_f1``, ``unsure`` (the share of photos of
        which the model says so), ``sure_accuracy`` (of the other photos) and ``classes``, which has for each
        class ``n``, ``correct``, ``predicted`` (photos taken for it), ``precision``, ``recall``, ``f1`` and ``top3``. A
        figure is ``value``, ``low`` and ``high``, or None if there is nothing to measure.
    """
    return {
        name: _measure(_Counts.of(part, len(classes)), classes) | _measure_unsure(part)
        for name, part in split_by_source(answers).items()
    }


def _measure_unsure(answers: Sequence[ScoredPhoto]) -> dict[str, Any]:
    sure = [answer for answer in answers if answer.unsure is False]
    unsure = sum(answer.unsure is True for answer in answers)
    return {
        "unsure": estimate_share(unsure, len(answers)) if sure or unsure else None,
        "sure_accuracy": estimate_share(sum(answer.correct for answer in sure), len(sure)),
    }


def _measure(counts: _Counts, classes: Sequence[str]) -> dict[str, Any]:
    n = counts.seen.total()
    return {
        "n": n,
        "accuracy": estimate_share(counts.right.total(), n),
        "top3": estimate_share(counts.top.total(), n) if counts.ranked else None,
        "macro_f1": _macro_f1(counts, n),
        "classes": {label: _measure_class(counts, label) for label in classes},
    }


def _measure_class(counts: _Counts, label: str) -> dict[str, Any]:
    seen, taken, right = counts.seen[label], counts.taken[label], counts.right[label]
    return {
        "n": seen,
        "correct": right,
        "predicted": taken,
        **estimate_class(seen, right, taken),
        "top3": estimate_share(counts.top[label], seen) if counts.ranked else None,
    }


def _macro_f1(counts: _Counts, n: int) -> Estimate | None:
    """The mean F1 of the classes that have photos. A class without photos has no recall, so it has no F1 either."""
    if not n:
        return None
    score = {label: counts.f1(label) for label in counts.seen}
    mean = math.fsum(score.values()) / len(score)
    return estimate(mean, mean_interval(mean, _variance(counts.confusion, counts, score, n), n))


def _variance(confusion: Mapping[tuple[str, str], int], counts: _Counts, score: Mapping[str, float], n: int) -> float:
    """The variance of macro F1 by the delta method: how much the mean changes with the share of each kind of answer."""

    def slope(truth: str, guess: str) -> float:
        if truth == guess:
            return 2 * (1 - score[truth]) / (counts.seen[truth] + counts.taken[truth])
        both = [label for label in (truth, guess) if label in score]
        return -math.fsum(score[label] / (counts.seen[label] + counts.taken[label]) for label in both)

    slopes = [(count / n, slope(*pair) * n / len(score)) for pair, count in confusion.items()]
    expected = math.fsum(share * value for share, value in slopes)
    return math.fsum(share * (value - expected) ** 2 for share, value in slopes) / n
