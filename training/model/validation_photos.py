"""Which training photos validate the epochs of a training, and calibrate what it calls unsure.

Of a turntable, arcs. Of other photos by a hash, or, if a pretrained network knows what looks alike, whole groups that look
alike: photos of one burst on both sides would make the figures of validation too good, and `unsure` too rare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchard.reporter import Reporter
from training.data.shards import Index
from training.data.whole_groups import choose_groups
from training.model.backbones.named import BACKBONES
from training.model.embedding import CACHE, Embeddings, embed
from training.model.frozen_features import DatasetPixels, PretrainedExtractor
from training.model.in_memory import InMemoryPhotos
from training.model.photo_groups import group_photos, is_turntable
from training.model.split import choose_validation
from training.params import Params

__all__ = ["choose_by_groups", "choose_validation_photos"]


def choose_validation_photos(
    photos: InMemoryPhotos, index: Index, params: Params, folder: Path, reporter: Reporter
) -> npt.NDArray[np.bool_]:
    """Choose the validation photos.

    Args:
        photos: the training photos of the dataset, or a part of them.
        index: the dataset's index.
        params: the share, the seed, and the network.
        folder: the dataset folder.
        reporter: reports progress.

    Returns:
        bool[N], true for validation.

    Raises:
        IntegrityError: a shard or the file of weights is damaged.
        MissingExtra: the package of the weights is not installed.
    """
    train = params.train
    strata = [(index.classes[label], source) for label, source in zip(photos.labels, photos.sources, strict=True)]
    chosen = choose_validation(
        photos.paths, strata, photos.digests, share=train.validation.share, seed=train.seed, given=photos.groups
    )
    if params.model.architecture not in BACKBONES:
        return chosen
    positions = {digest: position for position, digest in enumerate(photos.digests)}
    for source in sorted(set(photos.sources)):
        own = [path for path, name in zip(photos.paths, photos.sources, strict=True) if name == source]
        if is_turntable(own).all():
            continue
        pixels = DatasetPixels(folder, "train", [source])
        extractor = PretrainedExtractor(params.model.architecture, params.model.image_size)
        embeddings = embed(extractor, pixels, reporter, cache=CACHE)
        known = [place for place, row in enumerate(pixels.rows) if row.digest in positions]
        rows, embeddings = [pixels.rows[place] for place in known], embeddings[known]
        paths, labels, digests, given = zip(
            *((row.path, row.label, row.digest, row.group) for row in rows), strict=True
        )
        picked = choose_by_groups(
            paths, labels, digests, embeddings, share=train.validation.share, seed=train.seed, given=given
        )
        chosen[[positions[digest] for digest in digests]] = picked
    return chosen


def choose_by_groups(
    paths: Sequence[str],
    labels: Sequence[str],
    digests: Sequence[str],
    embeddings: Embeddings,
    *,
    share: float,
    seed: int,
    given: Sequence[str] = (),
) -> npt.NDArray[np.bool_]:
    """Choose about a share of the photos of one source, of each class a group that looks alike or whole given groups.

    Args:
        paths: N file names.
        labels: N classes.
        digests: N SHA-256 (hex).
        embeddings: float32[N, C].
        share: of the photos, between 0 and 1.
        seed: of the groups.
        given: N groups that a label file gave; see `training.model.photo_groups.group_photos`.

    Returns:
        bool[N]. A class has none if each of its groups has more than twice the share: training needs its photos.
    """
    groups = group_photos(paths, labels, digests, [embeddings], k=max(2, round(1 / share)), seed=seed, given=given)
    chosen = np.zeros(len(paths), bool)
    if any(given):
        units = [Counter(groups.strata[groups.ids == number].tolist()) for number in range(groups.ids.max() + 1)]
        return np.isin(groups.ids, sorted(choose_groups(units, share)))
    for stratum in np.unique(groups.strata):
        own = groups.ids[groups.strata == stratum]
        ids, counts = np.unique(own, return_counts=True)
        fitting = counts <= 2 * share * len(own)
        if fitting.any():
            chosen[groups.ids == ids[fitting][np.argmin(np.abs(counts[fitting] - share * len(own)))]] = True
    return chosen
