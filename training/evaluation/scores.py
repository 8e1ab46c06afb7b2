"""Metrics from answers: pure arithmetic that does not depend on the order of the photos."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "ALL",
    "NAMED_SLICES",
    "ScoredPhoto",
    "count_confusions",
    "list_misses",
    "measure_calibration",
    "score",
    "split_by_source",
    "summarize",
]

NAMED_SLICES = ("turntable", "shop")
"""Sources that every evaluation lists, with n = 0 if they have no photos: the two are never summed up in one figure."""

ALL = "all"
BINS = 10
DIGITS = 6


@dataclass(frozen=True, slots=True)
class ScoredPhoto:
    """A model's answer to one photo.

    Args:
        sha256: of the photo's bytes.
        path: its file name, for people.
        source: where it comes from, for example ``shop``.
        label: its class, the truth.
        guess: the model's class.
        probability: of the guess.
        truth_probability: of the truth; 0 if the model does not have that class.
        truth_rank: the place of the truth among the model's classes, by probability, from 1; None: it is not known.
        unsure: whether the model says that it is unsure; None: it does not say.
    """

    sha256: str
    path: str
    source: str
    label: str
    guess: str
    probability: float
    truth_probability: float
    truth_rank: int | None = None
    unsure: bool | None = None

    @property
    def correct(self) -> bool:
        """Whether the guess is the truth."""
        return self.guess == self.label


def _share(correct: int, n: int) -> float | None:
    return round(correct / n, DIGITS) if n else None


def summarize(counts: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Compute a slice's figures from its counts.

    Args:
        counts: class → (photos, right answers).

    Returns:
        ``n``, ``correct``, ``accuracy`` (None without photos), ``worst`` (None without photos) and ``classes``, where
        a class without photos has n = 0.
    """
    n, correct = sum(n for n, _ in counts.values()), sum(right for _, right in counts.values())
    present = [label for label, (seen, _) in counts.items() if seen]
    # of equally bad classes, the one with more photos: its figure is more reliable
    worst = min(
        present, key=lambda label: (counts[label][1] / counts[label][0], -counts[label][0], label), default=None
    )
    return {
        "n": n,
        "correct": correct,
        "accuracy": _share(correct, n),
        "worst": None
        if worst is None
        else {"label": worst, "accuracy": _share(counts[worst][1], counts[worst][0]), "n": counts[worst][0]},
        "classes": {label: {"n": seen, "correct": right} for label, (seen, right) in counts.items()},
    }


def split_by_source(answers: Sequence[ScoredPhoto]) -> dict[str, list[ScoredPhoto]]:
    """Return the answers of each source, `NAMED_SLICES` first, and of all sources under `ALL`."""
    names = [*NAMED_SLICES, *sorted({answer.source for answer in answers} - {*NAMED_SLICES, ALL})]
    return {name: [answer for answer in answers if answer.source == name] for name in names} | {ALL: list(answers)}


def score(answers: Sequence[ScoredPhoto], classes: Sequence[str]) -> dict[str, Any]:
    """Count right answers by source and by class.

    Args:
        answers: one for each photo.
        classes: every class, with or without photos.

    Returns:
        The result of `summarize` for each source and for ``all``.
    """
    scored = {}
    for name, part in split_by_source(answers).items():
        seen = Counter(answer.label for answer in part)
        right = Counter(answer.label for answer in part if answer.correct)
        scored[name] = summarize({label: (seen[label], right[label]) for label in classes})
    return scored


def count_confusions(answers: Sequence[ScoredPhoto], classes: Sequence[str]) -> dict[str, Any]:
    """Count answers by truth and guess, for each source and for all.

    Returns:
        ``labels``, the names of the classes, and ``pairs``: slice → [truth, guess, photos] of each pair that occurred,
        truth and guess as positions in ``labels``, in their order. So the size grows with the photos and not with the
        square of the classes. A guess outside `classes` (an older model may have others) is added to the labels.
    """
    labels = [*classes, *sorted({answer.guess for answer in answers} - set(classes))]
    place = {label: index for index, label in enumerate(labels)}
    pairs: dict[str, list[list[int]]] = {}
    for name, part in split_by_source(answers).items():
        counted = Counter((place[answer.label], place[answer.guess]) for answer in part)
        pairs[name] = [[truth, guess, n] for (truth, guess), n in sorted(counted.items())]
    return {"labels": labels, "pairs": pairs}


def measure_calibration(answers: Sequence[ScoredPhoto]) -> dict[str, Any]:
    """Compare confidence with accuracy, in ten bins of the guess's probability.

    Returns:
        ``ece`` (expected calibration error: the mean gap, weighted by photos; None without photos) and ``bins``, each
        with ``low``, ``high``, ``n``, ``confidence`` and ``accuracy`` (both None when empty).
    """
    binned: list[list[ScoredPhoto]] = [[] for _ in range(BINS)]
    for answer in answers:
        binned[min(BINS - 1, int(answer.probability * BINS))].append(answer)
    bins, gap = [], 0.0
    for index, part in enumerate(binned):
        n = len(part)
        confidence = math.fsum(answer.probability for answer in part) / n if n else None
        accuracy = sum(answer.correct for answer in part) / n if n else None
        if confidence is not None and accuracy is not None:
            gap += n * abs(confidence - accuracy)
        bins.append(
            {
                "low": index / BINS,
                "high": (index + 1) / BINS,
                "n": n,
                "confidence": None if confidence is None else round(confidence, DIGITS),
                "accuracy": None if accuracy is None else round(accuracy, DIGITS),
            }
        )
    return {"ece": round(gap / len(answers), DIGITS) if answers else None, "bins": bins}


def list_misses(answers: Sequence[ScoredPhoto], limit: int) -> list[dict[str, Any]]:
    """List up to `limit` wrong answers for each source, the most confident first: they are the most informative."""
    listed = []
    for name, part in split_by_source(answers).items():
        if name != ALL:
            wrong = sorted((a for a in part if not a.correct), key=lambda a: (-a.probability, a.sha256))
            listed += wrong[:limit]
    return [
        {
            **asdict(answer),
            "probability": round(answer.probability, DIGITS),
            "truth_probability": round(answer.truth_probability, DIGITS),
        }
        for answer in listed
    ]
