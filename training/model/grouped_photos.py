"""The training photos of a dataset with their embeddings and groups: what cross-validation and the label check work on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchard.reporter import Reporter
from training.data.photo_rows import PhotoRow, read_rows
from training.data.shards import Index
from training.model.cross_validation import CrossValidation, cross_validate
from training.model.embedding import CACHE, Embeddings, embed
from training.model.frozen_features import DatasetPixels, PretrainedExtractor
from training.model.linear_probe import LinearProbe
from training.model.photo_groups import PhotoGroups, folds, group_photos, is_turntable, join

__all__ = [
    "MIXTURE",
    "GroupedPhotos",
    "embed_source",
    "group_source",
    "join_photos",
    "probe_folds",
    "read_grouped",
]

MIXTURE = ("efficientnet_lite0", "efficientnet_lite2", "mobilenet_v2")
"""The backbones that groups are made from: all of them, whichever is judged."""

SEED = 7
"""Of the groups. It is no parameter: figures on other groups cannot be compared."""


@dataclass(frozen=True, slots=True)
class GroupedPhotos:
    """Training photos, one source after the other.

    Attributes:
        rows: N photos.
        labels: int32[N], index into the dataset's classes.
        features: float32[N, C], the embeddings of the judged backbones, side by side.
        groups: the groups of photos that are never in two folds.
    """

    rows: tuple[PhotoRow, ...]
    labels: npt.NDArray[np.int32]
    features: Embeddings
    groups: PhotoGroups


def read_grouped(
    folder: Path, index: Index, backbones: Sequence[str], sources: Sequence[str], *, k: int, reporter: Reporter
) -> list[GroupedPhotos]:
    """Read the training photos of each source, with embeddings (from the cache where it has them) and groups.

    Args:
        folder: the dataset folder.
        index: its index.
        backbones: the judged backbones.
        sources: only these; empty: all.
        k: the most groups of a class.
        reporter: reports progress.

    Raises:
        DataError: there is no such photo.
        IntegrityError: a shard or a file of weights is damaged.
        MissingExtra: the package of some weights is not installed.
    """
    known = sorted({row.source for row in read_rows(folder, "train", sources)})
    found = []
    for source in known:
        rows, embeddings = embed_source(folder, source, backbones, reporter)
        found.append(group_source(rows, embeddings, index, backbones, k=k))
    return found


def embed_source(
    folder: Path, source: str, backbones: Sequence[str], reporter: Reporter
) -> tuple[list[PhotoRow], dict[str, Embeddings]]:
    """Read the training photos of one source, with their embeddings by each judged backbone and those of the groups."""
    pixels = DatasetPixels(folder, "train", [source])
    mixture = () if is_turntable([row.path for row in pixels.rows]).all() else MIXTURE
    names = dict.fromkeys((*backbones, *mixture))
    return pixels.rows, {name: embed(PretrainedExtractor(name), pixels, reporter, cache=CACHE) for name in names}


def group_source(
    rows: Sequence[PhotoRow], embeddings: Mapping[str, Embeddings], index: Index, backbones: Sequence[str], *, k: int
) -> GroupedPhotos:
    """Group the photos of one source, by their labels in `rows`; see `embed_source`."""
    labels = [row.label for row in rows]
    mixture = [embeddings[name] for name in MIXTURE if name in embeddings]
    paths, digests, given = zip(*((row.path, row.digest, row.group) for row in rows), strict=True)
    groups = group_photos(paths, labels, digests, mixture, k=k, seed=SEED, given=given)
    columns = {label: column for column, label in enumerate(index.classes)}
    return GroupedPhotos(
        tuple(rows),
        np.array([columns[label] for label in labels], np.int32),
        np.concatenate([embeddings[name] for name in backbones], axis=1),
        groups,
    )


def join_photos(parts: Sequence[GroupedPhotos]) -> GroupedPhotos:
    """Return the photos of several sources as one."""
    return GroupedPhotos(
        tuple(row for part in parts for row in part.rows),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.features for part in parts]),
        join([part.groups for part in parts]),
    )


def probe_folds(
    photos: GroupedPhotos, index: Index, k: int, reporter: Reporter, only: Collection[int] = ()
) -> CrossValidation:
    """Cross-validate a linear probe on the photos' features, in k folds of their groups, or `only` in some of them."""
    probe = LinearProbe(photos.features, photos.labels, len(index.classes))
    return cross_validate(photos.labels, index.classes, folds(photos.groups, k), probe, reporter, only=only)
