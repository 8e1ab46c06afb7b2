"""Cross-validation over groups of photos: the only figure by which a network is chosen.

What is fitted is a parameter: `FitAndPredict` gets the positions of the photos to learn from and of those to predict,
and returns probabilities. A linear probe takes seconds, a fine-tuned network an hour; both are compared on the same folds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orchard.errors import DataError
from orchard.intervals import share_interval
from orchard.reporter import Reporter
from training.model.photo_groups import NEVER

__all__ = ["CrossValidation", "FitAndPredict", "cross_validate"]


class FitAndPredict(Protocol):
    """Learns from some photos and predicts others."""

    def __call__(self, train: npt.NDArray[np.intp], test: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Learn from the photos at positions `train`; return the probabilities of those at `test`.

        Args:
            train: int[n], positions of the photos to learn from.
            test: int[m], positions of the photos to predict; none is in `train`.

        Returns:
            float64[m, K], each row adds up to 1.
        """
        ...


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What the models of all folds predicted, each for the photos that it had not seen.

    Attributes:
        classes: K names.
        labels: int32[N], index into the classes.
        folds: int32[N], the fold that tested a photo, or `NEVER`.
        probabilities: float64[N, K]; NaN where a photo was never tested.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    folds: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float64]

    @property
    def tested(self) -> npt.NDArray[np.bool_]:
        """bool[N], whether a photo was tested."""
        tested: npt.NDArray[np.bool_] = self.folds != NEVER
        return tested

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """bool[N], whether a photo was tested and predicted correctly."""
        correct: npt.NDArray[np.bool_] = self.tested & (self.probabilities.argmax(axis=1) == self.labels)
        return correct

    def count(self, chosen: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Count the tested photos of a choice (bool[N]; None: all): correct, n, accuracy and its 95 % interval."""
        part = self.tested if chosen is None else self.tested & chosen
        correct, n = int((self.correct & part).sum()), int(part.sum())
        interval = list(share_interval(correct, n)) if n else None
        return {"correct": correct, "n": n, "accuracy": correct / n if n else None, "interval": interval}

    @property
    def document(self) -> dict[str, Any]:
        """The figures as JSON: of all photos, by class and by fold, and the number of photos that were never tested."""
        numbers = sorted(set(self.folds[self.tested].tolist()))
        return {
            **self.count(),
            "classes": {
                label: {**self.count(self.labels == column), "never_tested": self._never(column)}
                for column, label in enumerate(self.classes)
            },
            "folds": [self.count(self.folds == number) for number in numbers],
            "never_tested": int((~self.tested).sum()),
        }

    def _never(self, column: int) -> int:
        return int((~self.tested & (self.labels == column)).sum())


def cross_validate(
    labels: npt.NDArray[np.int32],
    classes: Sequence[str],
    folds: npt.NDArray[np.int32],
    fit_and_predict: FitAndPredict,
    reporter: Reporter,
    *,
    only: Collection[int] = (),
) -> CrossValidation:
    """Predict the photos of each fold with a model that has learned from all other photos.

    Args:
        labels: int32[N], index into the classes.
        classes: K names.
        folds: int32[N], of `training.model.photo_groups.folds`.
        fit_and_predict: what is fitted.
        reporter: reports progress.
        only: the folds to test, from 0; empty: all. The photos of the others count as never tested.

    Raises:
        DataError: no photo can be tested.
        ValueError: the probabilities have another shape than promised, or are not finite.
    """
    tested = np.isin(folds, list(only)) if only else folds != NEVER
    numbers = np.unique(folds[tested])
    if not len(numbers):
        raise DataError(
            "nothing can be cross-validated: no class has two groups of photos that do not look alike",
            hint="ingest photos of more visits or more specimens",
        )
    probabilities = np.full((len(labels), len(classes)), np.nan)
    for number in reporter.track(numbers.tolist(), f"cross-validating on {len(numbers)} folds"):
        train, test = np.flatnonzero(folds != number), np.flatnonzero(folds == number)
        predicted = np.asarray(fit_and_predict(train, test), np.float64)
        if predicted.shape != (len(test), len(classes)) or not np.isfinite(predicted).all():
            raise ValueError(f"expected finite probabilities [{len(test)}, {len(classes)}], got {predicted.shape}")
        probabilities[test] = predicted
    return CrossValidation(tuple(classes), labels, np.where(tested, folds, NEVER).astype(np.int32), probabilities)
