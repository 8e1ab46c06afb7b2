"""Finds training photos whose label is probably wrong: what `orchard validate --labels` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchard.reporter import Reporter
from training.data.shards import Index
from training.data.validation.label_errors import find_suspects, neighbour_votes
from training.data.validation.label_report import LabelCheck, SuspectPhoto
from training.model.grouped_photos import GroupedPhotos, probe_folds, read_grouped

__all__ = ["FOLDS", "check_labels", "suspects_of"]

FOLDS = 5


def check_labels(
    folder: Path, index: Index, backbones: Sequence[str], sources: Sequence[str], reporter: Reporter
) -> LabelCheck:
    """Check the labels of a dataset's training photos, each source for itself: how sure a model is differs by source.

    Args:
        folder: the dataset folder.
        index: its index.
        backbones: whose features are used, side by side.
        sources: only these; empty: all.
        reporter: reports progress.

    Raises:
        DataError: there is no such photo, or no class of a source has two groups.
        IntegrityError: a shard or a file of weights is damaged.
        MissingExtra: the package of some weights is not installed.
    """
    parts = read_grouped(folder, index, backbones, sources, k=FOLDS, reporter=reporter)
    suspects = [suspect for part in parts for suspect in suspects_of(part, index, reporter)]
    ordered = sorted(suspects, key=lambda suspect: (-suspect.score, suspect.digest))
    checked = {part.rows[0].source: len(part.rows) for part in parts}
    return LabelCheck(index.digest, tuple(backbones), checked, tuple(ordered))


def suspects_of(photos: GroupedPhotos, index: Index, reporter: Reporter) -> list[SuspectPhoto]:
    """The suspects among the photos of one source, the most probable first."""
    validated = probe_folds(photos, index, FOLDS, reporter)
    votes = neighbour_votes(photos.features, photos.labels, photos.groups.bursts, len(index.classes))
    return [
        SuspectPhoto(
            path=photos.rows[found.position].path,
            digest=photos.rows[found.position].digest,
            source=photos.rows[found.position].source,
            label=index.classes[found.label],
            suggested=index.classes[found.suggested],
            score=round(found.score, 6),
            reasons=found.reasons,
        )
        for found in find_suspects(validated.probabilities, votes, photos.labels)
    ]
