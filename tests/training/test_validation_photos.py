"""The validation photos: no near-copy of one is trained on, and every class keeps photos to learn from."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from training.model.split import choose_validation
from training.model.validation_photos import choose_by_groups


@example(128, 0.2)  # a sum in another order ended with other groups
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.2, 0.3]))
def test_a_burst_is_never_on_both_sides_and_every_class_is_trained_on(seed, share):
    dice = np.random.default_rng(seed)
    labels = np.repeat(["Apple", "Banana", "Plum"], 40)
    bursts = np.repeat(np.arange(30), 4)
    features = (dice.normal(0, 10, (30, 8))[bursts] + dice.normal(0, 0.01, (120, 8))).astype(np.float32)
    digests = [f"{dice.integers(2**60):064x}" for _ in labels]
    paths = [f"{number}.jpg" for number in range(120)]

    chosen = choose_by_groups(paths, labels.tolist(), digests, features, share=share, seed=7)

    assert all(len(set(chosen[bursts == burst])) == 1 for burst in range(30))
    for label in set(labels):
        part = chosen[labels == label]
        assert part.sum() <= 2 * share * len(part)
    assert chosen.any()
    order = dice.permutation(120)
    again = choose_by_groups(
        [paths[place] for place in order],
        labels[order].tolist(),
        [digests[place] for place in order],
        features[order],
        share=share,
        seed=7,
    )
    assert np.array_equal(again, chosen[order])


def test_given_groups_of_several_classes_are_on_one_side_whatever_they_look_like():
    labels = [label for _ in range(40) for label in ("Apple", "Plum")]
    given = [f"visit {number // 8}" for number in range(80)]
    features = np.random.default_rng(1).normal(0, 1, (80, 8)).astype(np.float32)
    paths, digests = [f"{number}.jpg" for number in range(80)], [f"{number * 7919:064x}" for number in range(80)]

    looks = choose_by_groups(paths, labels, digests, features, share=0.2, seed=7, given=given)
    hashed = choose_validation(paths, [(label,) for label in labels], digests, share=0.2, seed=7, given=given)

    for chosen in (looks, hashed):
        assert chosen.reshape(10, 8).all(axis=1).sum() == 2 == chosen.sum() / 8


def test_a_class_with_one_photo_is_trained_on():
    features = np.random.default_rng(0).normal(0, 1, (9, 4)).astype(np.float32)

    chosen = choose_by_groups(
        [f"{n}.jpg" for n in range(9)],
        ["Apple"] * 8 + ["Plum"],
        [f"{n:064x}" for n in range(9)],
        features,
        share=0.2,
        seed=1,
    )

    assert chosen.any()
    assert not chosen[8]
