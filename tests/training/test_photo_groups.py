"""Groups of photos: near-copies are never on both sides of a fold, whatever the order, the class sizes and the source."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.simulated_visits import simulate
from training.model.photo_groups import NEVER, PhotoGroups, folds, group_photos, is_turntable, join


def digests_of(names):
    return [hashlib.sha256(name.encode()).hexdigest() for name in names]


def group(features, labels, *, paths=None, k=5, seed=7):
    paths = paths or [f"photo {number}.jpg" for number in range(len(labels))]
    names = [f"{label} {path}" for label, path in zip(labels, paths, strict=True)]
    return group_photos(paths, [str(label) for label in labels], digests_of(names), features, k=k, seed=seed)


def test_groups_follow_the_visits():
    visits = simulate(spread=(1.0, 1.2, 0.2, 0.1))

    groups = group([visits.features], visits.labels)

    assert len(np.unique(groups.ids)) == 8 * 5
    pairs = {(visit, found) for visit, found in zip(visits.visits.tolist(), groups.ids.tolist(), strict=True)}
    assert len(pairs) == 8 * 5


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    copies=st.integers(0, 12),
    k=st.sampled_from([2, 3, 5]),
)
def test_near_copies_are_never_on_both_sides(seed, sizes, copies, k):
    draw = np.random.default_rng(seed)
    sizes = [6, *sizes]  # the features of two photos alone have no scale
    labels = np.repeat(np.arange(len(sizes)), sizes)
    features = draw.normal(0, 1, (len(labels), 24))
    originals = draw.integers(0, len(labels), copies)
    features = np.concatenate([features, features[originals] + draw.normal(0, 0.03, (copies, 24))]).astype(np.float32)
    labels = np.concatenate([labels, labels[originals]])

    groups = group([features, features[:, :7]], labels, k=k)
    assigned = folds(groups, k)

    for copy, original in enumerate(originals.tolist(), start=len(labels) - copies):
        assert groups.ids[copy] == groups.ids[original]
        assert groups.bursts[copy] == groups.bursts[original]
        assert assigned[copy] == assigned[original]
    for found in np.unique(groups.ids):
        assert len(np.unique(assigned[groups.ids == found])) == 1
        assert len(np.unique(labels[groups.ids == found])) == 1


def test_order_of_photos_does_not_matter():
    visits = simulate(classes=4, bursts=3)
    order = np.random.default_rng(1).permutation(len(visits.labels))

    def grouped(places):
        return group_photos(
            [visits.paths[place] for place in places],
            [str(visits.labels[place]) for place in places],
            [visits.digests[place] for place in places],
            [visits.features[places]],
            k=5,
            seed=7,
        )

    first, shuffled = grouped(np.arange(len(order))), grouped(order)
    assert np.array_equal(first.ids[order], shuffled.ids)
    assert np.array_equal(folds(first, 5)[order], folds(shuffled, 5))


def test_each_fold_leaves_out_one_group_of_each_class_and_all_have_about_as_many_photos():
    visits = simulate(classes=6)

    groups = group([visits.features], visits.labels)
    assigned = folds(groups, 5)

    for fold in range(5):
        tested = assigned == fold
        for label in range(6):
            assert len(np.unique(groups.ids[tested & (visits.labels == label)])) == 1
            assert (visits.labels[~tested] == label).any(), "every class has photos to learn from"
    sizes = np.bincount(assigned)
    assert sizes.max() < 1.5 * sizes.min()


def test_one_photo_or_one_burst_in_a_class_is_learned_from_and_never_tested():
    visits = simulate(classes=2)
    alone = np.full((1, 64), 3, np.float32)
    burst = np.full((9, 64), -3, np.float32) + np.arange(9)[:, np.newaxis].astype(np.float32) / 100
    features = np.concatenate([visits.features, alone, burst])
    labels = np.concatenate([visits.labels, [2], [3] * 9])

    assigned = folds(group([features], labels), 5)

    assert (assigned[labels >= 2] == NEVER).all()
    assert (assigned[labels < 2] != NEVER).all()


def test_class_with_fewer_photos_than_folds_has_a_group_for_each():
    features = np.eye(8, 16, dtype=np.float32)
    groups = group([features], [0, 0, 0, 1, 1, 1, 1, 1], k=5)

    assert len(np.unique(groups.ids[:3])) == 3
    assert len(np.unique(folds(groups, 5)[:3])) == 3


@given(st.integers(0, 10_000), st.sampled_from([3, 5]))
def test_no_fold_divides_a_given_group_of_several_classes_and_every_class_is_learned_from(seed, k):
    visits = simulate(classes=3, seed=seed)
    dice = np.random.default_rng(seed)
    given = np.array([f"day {number}" for number in dice.integers(0, 8, visits.bursts.max() + 1)])[visits.bursts]
    given[dice.random(len(given)) < 0.2] = ""
    names = [str(label) for label in visits.labels]

    groups = group_photos(visits.paths, names, visits.digests, [visits.features], k=k, seed=7, given=given.tolist())
    assigned = folds(groups, k)

    for name in set(given.tolist()) - {""}:
        tested = set(assigned[given == name].tolist())
        assert len(tested - {NEVER}) <= 1
    for burst in range(visits.bursts.max() + 1):
        assert len(set(assigned[visits.bursts == burst].tolist())) == 1
    for label in range(3):
        own = assigned[visits.labels == label]
        assert (own == NEVER).all() or len(set(own.tolist()) - {NEVER}) > 1
    order = dice.permutation(len(given))
    shuffled = group_photos(
        [visits.paths[place] for place in order],
        [names[place] for place in order],
        [visits.digests[place] for place in order],
        [visits.features[order]],
        k=k,
        seed=7,
        given=given[order].tolist(),
    )
    assert np.array_equal(folds(shuffled, k), assigned[order])


def test_turntable_is_cut_into_arcs_and_needs_no_features():
    paths = [f"{axis}{frame}_100.jpg" for axis in ("", "r_") for frame in range(50)]
    assert is_turntable([*paths, "shop.jpg"]).tolist() == [True] * 100 + [False]

    groups = group([], ["Kiwi"] * 100, paths=paths)
    assigned = folds(groups, 5)

    for start in (0, 50):
        arcs = groups.ids[start : start + 50]
        assert sum(one != other for one, other in pairwise(arcs)) == 4, "five pieces of the rotation"
        assert np.bincount(assigned[start : start + 50]).tolist() == [10] * 5


def test_turntable_and_other_photos_of_one_source_are_grouped_apart():
    features = np.random.default_rng(2).normal(0, 1, (20, 8)).astype(np.float32)
    paths = [f"{frame}_100.jpg" for frame in range(10)] + [f"shop {number}.jpg" for number in range(10)]

    groups = group([features], ["Kiwi"] * 20, paths=paths)

    assert not set(groups.ids[:10].tolist()) & set(groups.ids[10:].tolist())
    assert set(groups.strata.tolist()) == {0, 1}


def test_no_backbone_outweighs_another_by_its_width_or_scale():
    visits = simulate(classes=3, width=32)
    noise = np.random.default_rng(3).normal(0, 100, (len(visits.labels), 4)).astype(np.float32)

    alone = group([visits.features], visits.labels)
    scaled = group([visits.features * 50 + 9], visits.labels)
    mixed = group([visits.features, np.repeat(noise, 200, axis=1)], visits.labels)

    assert np.array_equal(alone.ids, scaled.ids)
    assert not np.array_equal(alone.ids, mixed.ids), "the other backbone counts, however much it sees"


def test_sources_are_joined_without_common_groups():
    part = PhotoGroups(np.array([0, 1, 1], np.int32), np.zeros(3, np.int32), np.array([0, 1, 2], np.int32))

    both = join([part, part])

    assert both.ids.tolist() == [0, 1, 1, 2, 3, 3]
    assert both.strata.tolist() == [0, 0, 0, 1, 1, 1]
    assert both.bursts.tolist() == [0, 1, 2, 3, 4, 5]


def test_more_groups_than_folds_is_an_error():
    groups = PhotoGroups(np.arange(4, dtype=np.int32), np.zeros(4, np.int32), np.arange(4, dtype=np.int32))

    with pytest.raises(ValueError, match="4 groups, more than 3 folds"):
        folds(groups, 3)
