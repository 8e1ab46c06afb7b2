"""Validation is whole arcs of a rotation, or chosen by a hash; never neighbours of training photos or a whole class."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.turntable import read_turn
from training.model.split import choose_validation


@pytest.mark.parametrize(
    ("path", "turn"),
    [
        ("12_100.jpg", ("", 12)),
        ("r_0_100.jpg", ("r", 0)),
        ("r2_327_100.jpg", ("r2", 327)),
        ("Test/Kiwi/r_5_100.jpg", ("r", 5)),
        ("Kiwi_012.jpg", None),
        ("IMG_20240501_120000.jpg", None),
        ("", None),
    ],
)
def test_axis_and_frame_are_read_off_the_name(path, turn):
    assert read_turn(path) == turn


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def choose(paths, groups, share=0.2, seed=7):
    return choose_validation(
        paths,
        groups,
        [digest(f"{path}{group}") for path, group in zip(paths, groups, strict=True)],
        share=share,
        seed=seed,
    )


def turntable(label, axis, frames):
    return [f"{axis}{frame}_100.jpg" for frame in frames], [(label, "turntable")] * len(frames)


def test_each_axis_gives_one_arc():
    paths, groups = [], []
    for label in ("Kiwi", "Plum"):
        for axis in ("", "r_", "r2_"):
            found = turntable(label, axis, range(100))
            paths, groups = paths + found[0], groups + found[1]

    chosen = choose(paths, groups)

    for start in range(0, 600, 100):
        arc = chosen[start : start + 100]
        assert arc.sum() == 20
        borders = sum(one != other for one, other in pairwise(arc))
        assert borders == 2, "one piece, with frames to learn from on both sides"
    assert len({chosen[start : start + 100].tobytes() for start in range(0, 600, 100)}) > 1


@pytest.mark.parametrize("seed", range(5))
def test_arc_keeps_away_from_the_gaps_that_test_photos_leave(seed):
    frames = [*range(30), *range(60, 140), *range(170, 200)]
    paths, groups = turntable("Kiwi", "r_", frames)

    chosen = choose(paths, groups, share=0.15, seed=seed)

    found = [frame for frame, taken in zip(frames, chosen, strict=True) if taken]
    assert len(found) == 21
    assert found[-1] - found[0] == 20
    assert found[0] - 60 >= 15
    assert 139 - found[-1] >= 15


def test_order_of_photos_does_not_matter_and_the_seed_does():
    paths, groups = turntable("Kiwi", "", range(100))
    loose = [f"shop {number}.jpg" for number in range(100)]
    paths, groups = paths + loose, groups + [("Kiwi", "shop")] * 100
    order = np.random.default_rng(1).permutation(len(paths))

    chosen = choose(paths, groups)

    shuffled = choose([paths[place] for place in order], [groups[place] for place in order])
    assert np.array_equal(chosen[order], shuffled)
    assert not np.array_equal(chosen, choose(paths, groups, seed=8))


def test_photo_without_a_turntable_stays_on_its_side_when_others_come():
    first = [f"shop {number}.jpg" for number in range(200)]
    later = first + [f"more {number}.jpg" for number in range(200)]

    chosen = choose(first, [("Kiwi", "shop")] * 200)

    assert 0 < chosen.sum() < 100
    assert np.array_equal(chosen, choose(later, [("Kiwi", "shop")] * 400)[:200])


@given(
    st.lists(st.tuples(st.sampled_from(["1", "r_2", "x"]), st.integers(0, 30), st.sampled_from("AB")), max_size=40),
    st.floats(0.01, 0.99),
)
def test_no_group_is_chosen_completely(photos, share):
    paths = [f"{axis}{number}_100.jpg" for axis, number, _ in photos]
    groups = [(label, "any") for _, _, label in photos]

    chosen = choose(paths, groups, share)

    for group in set(groups):
        members = [place for place, found in enumerate(groups) if found == group]
        assert not chosen[members].all()
