"""Groups of photos that belong together, and the folds of a cross-validation that never cut through a group.

A visit to a shop gives a few bursts of nearly equal photos of each class. Folds at random have a part of each burst on
both sides, and then every network looks right: 97 % instead of 74 %. So a fold here is what a visit is: whole clusters
of photos that look alike. The clusters are made from several backbones at once, because clusters of one backbone would
punish that one. Photos of a turntable are known to be alike by their frames: their groups are arcs, as in
`training.model.split`, and need no backbone. A label file may give groups of its own, visits or patients: their photos are
never apart, whatever they look like, and photos that look alike are still together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.turntable import read_turn

__all__ = ["NEVER", "PhotoGroups", "folds", "group_photos", "is_turntable", "join"]

NEVER = -1
"""The fold of photos that are never tested: their class has no other group to learn from."""

COMPONENTS = 16
"""Principal components of a class that its clusters are made in."""

STARTS = 10
"""How often k-means starts for each class; the best result counts."""

ALIKE = 0.1
"""Photos of a class are alike if their squared distance is at most this share of that of two photos of a class at random.
Photos that are alike, directly or through others, are one burst, which is never cut."""

LEAST_SPREAD = 0.1
"""The least mean squared distance of two photos of a class, as a share of that of any two: of classes that are all
near-copies, the first is no measure."""

LOOSE = "loose"
"""The kind of a photo that is not from a turntable."""

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PhotoGroups:
    """The groups of N photos.

    Attributes:
        ids: int32[N], the group of each photo, from 0; groups that a label file gave may have photos of several classes.
        strata: int32[N], what the groups of a photo's class are cut from: its class, source and, on a turntable, axis.
        bursts: int32[N], the near-copies of each photo, from 0: a part of its group, or the whole arc of a turntable.
    """

    ids: npt.NDArray[np.int32]
    strata: npt.NDArray[np.int32]
    bursts: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)


def is_turntable(paths: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return for each file name whether it is a frame of a turntable: bool[N]. Such photos need no features."""
    return np.array([read_turn(path) is not None for path in paths], bool)


def group_photos(
    paths: Sequence[str],
    labels: Sequence[str],
    digests: Sequence[str],
    features: Sequence[Features],
    *,
    k: int,
    seed: int,
    given: Sequence[str] = (),
) -> PhotoGroups:
    """Cut each class of one source into up to k groups of photos that look alike, or of whole groups that were given.

    Args:
        paths: N file names.
        labels: N classes.
        digests: N SHA-256 (hex) of the files, which make the result independent of the order.
        features: the embeddings by each of several backbones, float32[N, C]; rows of turntable photos are not read.
        k: the most groups of a class, at least 2. A class with fewer bursts has fewer groups.
        seed: of k-means.
        given: N groups that a label file gave; empty, of one photo or of all: none. Frames of a turntable keep their arcs.

    Returns:
        The groups; photos of one group have one class, unless a group that was given has several.
    """
    given = given or ("",) * len(paths)
    order = sorted(range(len(paths)), key=lambda place: (digests[place], paths[place]))
    # all is computed in this order: sums of the same numbers in another order are other numbers
    names = ([paths[place] for place in order], [labels[place] for place in order], [given[place] for place in order])
    found = _group_ordered(*names, [part[order] for part in features], k, seed)
    back = np.argsort(order)
    return PhotoGroups(found.ids[back], found.strata[back], found.bursts[back])


def _group_ordered(
    paths: list[str], labels: list[str], given: list[str], features: list[Features], k: int, seed: int
) -> PhotoGroups:
    """Return what `group_photos` does, for photos in the order of their digests."""
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    turns = [read_turn(path) for path in paths]
    for position, turn in enumerate(turns):
        members[labels[position], LOOSE if turn is None else f"axis {turn[0]}"].append(position)
    loose = np.array([turn is None for turn in turns], bool)
    mixture = _mix(features, loose) if loose.any() else np.empty((len(paths), 0))
    near = _near(mixture, [np.array(places) for (_, kind), places in members.items() if kind == LOOSE])
    ids, strata, bursts = (np.empty(len(paths), np.int32) for _ in range(3))
    first = first_burst = 0
    for number, ((_, kind), positions) in enumerate(sorted(members.items())):
        places = np.array(positions)
        if kind == LOOSE:
            names = [given[place] for place in positions]
            alike = _bursts(mixture[places], near, names)
            parts = alike if any(names) else _cluster(mixture[places], alike, k, seed)
        else:
            parts = alike = _arcs([(turn[1] if (turn := turns[place]) else 0) for place in positions], k)
        ids[places], strata[places], bursts[places] = first + parts, number, first_burst + alike
        first, first_burst = first + int(parts.max()) + 1, first_burst + int(alike.max()) + 1
    named = np.isin(strata, strata[loose & (np.array(given) != "")])
    if named.any():
        units = _units(bursts[named], [name for name, chosen in zip(given, named, strict=True) if chosen])
        ids[named] = first + _share_out(units, strata[named], k)
        ids = np.unique(ids, return_inverse=True)[1].astype(np.int32)
    return PhotoGroups(ids, strata, bursts)


def join(parts: Sequence[PhotoGroups]) -> PhotoGroups:
    """Return the groups of several sources as one, with the photos one source after the other."""
    return PhotoGroups(*(_stack([getattr(part, name) for part in parts]) for name in ("ids", "strata", "bursts")))


def _stack(numbers: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Put numbers from 0 one after the other, each part above those before it."""
    firsts = np.cumsum([0, *(part.max() + 1 for part in numbers[:-1])])
    return np.concatenate([first + part for first, part in zip(firsts, numbers, strict=True)]).astype(np.int32)


def folds(groups: PhotoGroups, k: int) -> npt.NDArray[np.int32]:
    """Assign each group to the fold that tests it: of each class, one group a fold.

    Classes that have a group in common are one class here. The largest group of a class goes to the fold that has the
    fewest photos so far, and so on, so that all folds get about as many photos.

    Args:
        groups: the photos' groups, at most k for each class.
        k: the number of folds.

    Returns:
        int32[N], 0 to k - 1; `NEVER` for photos whose class has only one group. These are in the training part of
        every fold.
    """
    result = np.full(len(groups), NEVER, np.int32)
    sizes = np.zeros(k, np.int64)
    families = _families(groups)
    for family in np.unique(families):
        chosen = families == family
        chosen &= np.isin(groups.strata, _cut_strata(groups.strata[chosen], groups.ids[chosen]))
        ids, counts = np.unique(groups.ids[chosen], return_counts=True)
        if len(ids) > k:
            raise ValueError(f"a class has {len(ids)} groups, more than {k} folds")
        free = list(range(k))
        for place in np.argsort(-counts, kind="stable"):
            fold = min(free, key=lambda number: (sizes[number], number))
            free.remove(fold)
            sizes[fold] += counts[place]
            result[chosen & (groups.ids == ids[place])] = fold
    return result


def _families(groups: PhotoGroups) -> npt.NDArray[np.int32]:
    """Number the strata that have groups in common, directly or through others: int32[N], by the first stratum of each."""
    first = int(groups.strata.max()) + 1
    return _connect(groups.strata, first + groups.ids)[groups.strata]


def _cut_strata(strata: npt.NDArray[np.int32], ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The strata that have several groups: photos of others are never tested."""
    pairs = np.unique(np.stack([strata, ids]), axis=1)
    found, counts = np.unique(pairs[0], return_counts=True)
    return found[counts > 1]


def _connect(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Return the connected component of each number from 0, where `first` and `second` have the two ends of each edge."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(max(first.max(), second.max())) + 1
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return _renumber(connected_components(edges, directed=False)[1])


def _units(bursts: npt.NDArray[np.int32], given: Sequence[str]) -> npt.NDArray[np.int32]:
    """Number what is never apart: bursts that have a group in common; returns the unit of each photo."""
    names = {name: number for number, name in enumerate(sorted({*given} - {""}), int(bursts.max()) + 1)}
    ends = np.array([names.get(name, burst) for name, burst in zip(given, bursts.tolist(), strict=True)])
    return _connect(bursts, ends)[bursts]  # numbered by their first burst, whatever the order of the photos


def _share_out(units: npt.NDArray[np.int32], strata: npt.NDArray[np.int32], k: int) -> npt.NDArray[np.int32]:
    """Put whole units into k groups, so that each class is in all of them where it can be; returns each photo's group.

    The largest unit is the first; each goes to the group that has the fewest photos of its classes, then the fewest photos.
    """
    columns = np.unique(strata, return_inverse=True)[1]
    counts = np.zeros((int(units.max()) + 1, int(columns.max()) + 1), np.int64)
    np.add.at(counts, (units, columns), 1)
    have = np.zeros((k, counts.shape[1]), np.int64)
    result = np.zeros(len(counts), np.int32)
    for unit in np.argsort(-counts.sum(axis=1), kind="stable"):
        result[unit] = min(range(k), key=lambda group: (have[group] @ counts[unit], have[group].sum(), group))
        have[result[unit]] += counts[unit]
    return result[units]


def _mix(features: Sequence[Features], loose: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Put the features of all backbones side by side, standardised; each backbone has the same weight."""
    parts = []
    for part in features:
        wide = part.astype(np.float64)
        deviation = wide[loose].std(axis=0)
        parts.append((wide - wide[loose].mean(axis=0)) / np.where(deviation > 0, deviation, 1) / np.sqrt(part.shape[1]))
    return np.concatenate(parts, axis=1)


def _near(mixture: npt.NDArray[np.float64], classes: Sequence[npt.NDArray[np.intp]]) -> float:
    """The largest squared distance of two photos that are alike, from how far photos of the classes are apart."""
    if not classes:
        return 0.0
    freedom = sum(len(places) - 1 for places in classes)
    within = sum(np.square(mixture[places] - mixture[places].mean(axis=0)).sum() for places in classes)
    every = mixture[np.concatenate(classes)]
    least = LEAST_SPREAD * np.square(every - every.mean(axis=0)).sum(axis=1).mean()
    return float(2 * ALIKE * max(within / max(1, freedom), least))


def _cluster(
    mixture: npt.NDArray[np.float64], bursts: npt.NDArray[np.int32], k: int, seed: int
) -> npt.NDArray[np.int32]:
    """Cluster the bursts of one class; returns the cluster of each photo, from 0."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    count = int(bursts.max()) + 1
    if count <= k:
        return bursts
    weights = np.bincount(bursts)
    centres = np.zeros((count, mixture.shape[1]))
    np.add.at(centres, bursts, mixture)
    centres /= weights[:, np.newaxis]
    with threadpool_limits(1):  # a class is too small for threads, which would add up its sums in any order
        reduced = PCA(min(COMPONENTS, *centres.shape), svd_solver="full").fit_transform(centres)
        means = KMeans(k, n_init=STARTS, random_state=seed).fit(reduced, sample_weight=weights)
    return _renumber(means.labels_)[bursts]


def _bursts(mixture: npt.NDArray[np.float64], near: float, given: Sequence[str]) -> npt.NDArray[np.int32]:
    """Number the bursts of one class: photos with a squared distance of at most `near`, directly or through others.

    Photos of one given group are alike too.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    squares = np.square(mixture).sum(axis=1)
    distances = squares[:, np.newaxis] + squares - 2 * mixture @ mixture.T
    alike = csr_array(distances <= near + 1e-9 * squares.max())  # the addend: rounding, where photos are equal
    bursts = _renumber(connected_components(alike, directed=False)[1])
    return _units(bursts, given) if any(given) else bursts


def _arcs(frames: Sequence[int], k: int) -> npt.NDArray[np.int32]:
    """Cut the frames of one rotation into k arcs of equal length; returns the arc of each frame, from 0."""
    order = np.argsort(np.array(frames), kind="stable")
    arcs = np.empty(len(frames), np.int32)
    for number, part in enumerate(np.array_split(order, min(k, len(frames)))):
        arcs[part] = number
    return arcs


def _renumber(numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Number groups by their first member, so that names of clusters do not depend on the library."""
    _, first, places = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first, kind="stable"))[places].astype(np.int32)
