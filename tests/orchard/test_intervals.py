"""95 % intervals: published values, bounds, and that they hold the truth as often as they claim."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.formatting import accuracy_text
from orchard.intervals import difference_interval, share_interval


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_values_that_newcombe_published(correct, n, low, high):
    """R. G. Newcombe, Stat. Med. 17 (1998), 857-872, table I, method 3."""
    assert share_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("before", "after", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_the_differences_that_newcombe_published(before, after, low, high):
    """R. G. Newcombe, Stat. Med. 17 (1998), 873-890, table II, method 10."""
    assert difference_interval(before, after) == pytest.approx((low, high), abs=5e-5)


COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_an_interval_holds_its_share_and_is_a_share(counts):
    low, high = share_interval(*counts)

    assert 0 <= low <= counts[0] / counts[1] <= high <= 1
    assert high > low


@given(COUNTS, COUNTS)
def test_a_loss_and_its_gain_have_the_same_interval(before, after):
    low, high = difference_interval(before, after)
    assert difference_interval(after, before) == pytest.approx((-high, -low))
    assert -1 <= low <= high <= 1


@pytest.mark.parametrize("share", [0.02, 0.5, 0.86])
def test_about_95_of_100_intervals_hold_the_true_share(share):
    draws, held = random.Random(7), 0  # noqa: S311 (no secret)
    for _ in range(2000):
        low, high = share_interval(sum(draws.random() < share for _ in range(133)), 133)
        held += low <= share <= high

    assert 0.93 <= held / 2000 <= 0.98


def test_an_accuracy_is_written_with_its_interval():
    assert accuracy_text(108, 133) == "81.2 % (73.7–87.0)"
    assert accuracy_text(0, 5) == "0.0 % (0.0–43.5)"
    assert accuracy_text(5, 5) == "100.0 % (56.5–100.0)"
    assert accuracy_text(0, 0) == "–"
