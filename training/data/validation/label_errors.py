"""Which labels are probably wrong: confident learning, united with what the most similar photos are.

Confident learning (Northcutt, Jiang and Chuang, J. Artif. Intell. Res. 70, 2021) compares a label with probabilities of
models that have not seen the photo. A class is only as certain as the model is of it on average: that mean is the
threshold above which a prediction counts. The second witness is the labels of the nearest photos by their embeddings.
Its near-copies do not count there: a burst that was labelled wrongly as a whole would confirm itself.

Pure NumPy: probabilities, embeddings and bursts come from `training.model`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["EVEN", "SuspectLabel", "confident_joint", "find_suspects", "neighbour_votes"]

NEIGHBOURS = 10
"""How many of the nearest photos have a vote."""

ROWS = 1024
"""Photos that are compared with all others at a time, which bounds the memory."""

EVEN = 0.5
"""The score of a photo whose label is as probable as another class."""

PREDICTED, ALIKE = "predicted", "neighbours"
"""The reasons: models that had not seen the photo predict another class; the most similar photos have another class."""

Labels = npt.NDArray[np.int32]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SuspectLabel:
    """A photo whose label is probably wrong.

    Attributes:
        position: of the photo.
        label: its class, an index.
        suggested: the class that it probably shows.
        score: more than 0.5, where both classes are equally probable, up to 1.
        reasons: one or both of ``"predicted"`` and ``"neighbours"``.
    """

    position: int
    label: int
    suggested: int
    score: float
    reasons: tuple[str, ...]


def confident_joint(probabilities: Shares, labels: Labels) -> tuple[npt.NDArray[np.int64], Labels]:
    """Count the photos of each label that are confidently predicted as each class.

    Args:
        probabilities: float64[N, K] of models that have not seen the photo; NaN where there are none.
        labels: int32[N].

    Returns:
        The counts, int64[K, K] by label and predicted class, and the confident class of each photo, int32[N]: the most
        probable of the classes that reach their threshold, the mean probability of the photos with that label. The
        label itself where no class reaches its threshold.
    """
    classes = probabilities.shape[1]
    known = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    own = probabilities[known, labels[known]]
    counts = np.bincount(labels[known], minlength=classes)
    means = np.bincount(labels[known], weights=own, minlength=classes) / np.maximum(counts, 1)
    thresholds = np.where(counts > 0, means, np.inf)
    reached = np.where(probabilities[known] >= thresholds, probabilities[known], -1.0)
    confident = labels.copy()
    confident[known] = np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), labels[known])
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[known], confident[known]), 1)
    return joint, confident


def neighbour_votes(
    features: npt.NDArray[np.float32], labels: Labels, bursts: Labels, classes: int, *, count: int = NEIGHBOURS
) -> Shares:
    """Return the classes of each photo's most similar photos in other bursts, weighted by their similarity.

    Args:
        features: float32[N, C], embeddings.
        labels: int32[N].
        bursts: int32[N], the near-copies of each photo, which have no vote.
        classes: K.
        count: how many photos have a vote.

    Returns:
        float64[N, K]; each row adds up to 1, or to 0 where every photo is in the same burst.
    """
    wide = features.astype(np.float64)
    deviation = wide.std(axis=0)
    wide = (wide - wide.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    votes = np.zeros((len(labels), classes))
    most = min(count, len(labels))
    for start in range(0, len(labels), ROWS):
        rows = np.arange(start, min(start + ROWS, len(labels)))
        similarity = unit[rows] @ unit.T
        similarity[bursts[rows][:, np.newaxis] == bursts] = -np.inf
        nearest = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
        weights = np.clip(np.take_along_axis(similarity, nearest, axis=1), 0, None).astype(np.float64)
        np.add.at(votes, (rows[:, np.newaxis], labels[nearest]), weights)
    totals = votes.sum(axis=1, keepdims=True)
    return votes / np.where(totals > 0, totals, 1)


def find_suspects(probabilities: Shares, votes: Shares, labels: Labels) -> list[SuspectLabel]:
    """Find the photos whose label is probably wrong, the most probable first.

    A photo is suspect if another class is confidently predicted, or if most votes of its neighbours are for another
    class, and if both witnesses together prefer the other class to the label. Its score is the normalised margin by
    which they do.

    Args:
        probabilities: float64[N, K] of models that have not seen the photo; NaN where there are none.
        votes: float64[N, K] of `neighbour_votes`.
        labels: int32[N].
    """
    _, confident = confident_joint(probabilities, labels)
    rows = np.arange(len(labels))
    predicted = confident != labels
    elected = votes.argmax(axis=1)
    alike = (elected != labels) & (votes[rows, elected] > 0.5)
    witnesses = np.stack([np.nan_to_num(probabilities), votes])
    heard = np.maximum((witnesses.sum(axis=2) > 0).sum(axis=0), 1)
    belief = witnesses.sum(axis=0) / heard[:, np.newaxis]
    others = belief.copy()
    others[rows, labels] = -1
    suggested = others.argmax(axis=1)
    scores = (1 + others.max(axis=1) - belief[rows, labels]) / 2
    chosen = np.flatnonzero((predicted | alike) & (scores > EVEN))
    ordered = chosen[np.lexsort((chosen, -scores[chosen]))]
    return [
        SuspectLabel(
            int(row), int(labels[row]), int(suggested[row]), float(scores[row]), _reasons(predicted[row], alike[row])
        )
        for row in ordered
    ]


def _reasons(predicted: bool, alike: bool) -> tuple[str, ...]:
    return tuple(reason for reason, holds in zip((PREDICTED, ALIKE), (predicted, alike), strict=True) if holds)
