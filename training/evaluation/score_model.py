"""A model's answers to the test photos, and its latency."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.figures import measure_figures
from training.evaluation.scores import ScoredPhoto, count_confusions, list_misses, measure_calibration, score
from training.evaluation.test_photos import TestPhoto
from training.model.savedmodel_session import SavedModelSession

__all__ = ["evaluate_answers", "measure_latency", "predict_photos"]

MISSES = 250
"""Misses per source in the report."""

WARM_UP = 20
CALLS = 200


def predict_photos(session: SavedModelSession, photos: Sequence[TestPhoto]) -> list[ScoredPhoto]:
    """Predict photos with a model.

    Raises:
        IntegrityError: the model failed or gives invalid outputs.
    """
    answers = session.predict([photo.image for photo in photos])
    column = {label: index for index, label in enumerate(session.classes)}
    return [
        ScoredPhoto(
            sha256=photo.sha256,
            path=photo.path,
            source=photo.source,
            label=photo.label,
            guess=guess,
            probability=float(probability),
            truth_probability=float(row[column[photo.label]]) if photo.label in column else 0.0,
            truth_rank=_rank(row, column[photo.label]) if photo.label in column else None,
            unsure=None if answers.unsure is None else bool(answers.unsure[place]),
        )
        for place, (photo, guess, probability, row) in enumerate(
            zip(photos, answers.labels, answers.probability, answers.probabilities, strict=True)
        )
    ]


def _rank(probabilities: npt.NDArray[np.float32], index: int) -> int:
    """The place of a class by probability, from 1; of equal ones the first in order, as the model's label has it."""
    own = probabilities[index]
    return 1 + int((probabilities > own).sum()) + int((probabilities[:index] == own).sum())


def evaluate_answers(answers: Sequence[ScoredPhoto], classes: Sequence[str]) -> dict[str, Any]:
    """Return the parts of an evaluation that depend only on the answers (one per test photo) and the dataset's classes."""
    return {
        "slices": score(answers, classes),
        "figures": measure_figures(answers, classes),
        "confusion": count_confusions(answers, classes),
        "calibration": measure_calibration(answers),
        "misses": list_misses(answers, MISSES),
    }


def measure_latency(session: SavedModelSession, photos: Sequence[TestPhoto]) -> dict[str, float]:
    """Time single photos, one after the other, on one thread.

    Returns:
        ``p50`` and ``p99`` in milliseconds and ``n``, the number of calls. The times differ from run to run.
    """
    times = []
    for number in range(WARM_UP + CALLS):
        image = photos[number % len(photos)].image
        begin = time.perf_counter()
        session.predict([image])
        times.append((time.perf_counter() - begin) * 1000)
    timed = sorted(times[WARM_UP:])
    return {"p50": round(timed[CALLS // 2], 3), "p99": round(timed[CALLS * 99 // 100], 3), "n": CALLS}
