"""Percentages: one function, which cuts and never rounds up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.formatting import interval_text, percent, points, points_interval, shorten, threshold_text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.92999, "92.9 %"),
        (0.99999, "99.9 %"),
        (1.0, "100.0 %"),
        (0.29, "29.0 %"),
        (0.96, "96.0 %"),
        (1 - 1e-6, "99.9 %"),
        (0.0, "0.0 %"),
        (None, "–"),
    ],
)
def test_share_is_cut(share, text):
    assert percent(share) == text


@given(st.integers(1, 100_000), st.data())
def test_written_percentage_is_never_above_the_share(n, data):
    share = data.draw(st.integers(0, n)) / n

    written = float(percent(share).removesuffix(" %"))

    assert written <= 100 * share + 1e-6
    assert written > 100 * share - 0.1 - 1e-6


@pytest.mark.parametrize(
    ("difference", "text"), [(0.0123, "+1.2"), (-0.0004, "−0.0"), (-0.31, "−31.0"), (0, "±0"), (None, "–")]
)
def test_difference_is_in_points_with_its_sign(difference, text):
    assert points(difference) == text


def test_interval_is_rounded_outwards():
    assert interval_text((0.7372, 0.8691)) == "73.7–87.0"
    assert points_interval((-0.0061, 0.0312)) == "−0.7 to +3.2"


def test_threshold_keeps_its_digits():
    assert [threshold_text(value) for value in (0.95, 0.9995, 1)] == ["95 %", "99.95 %", "100 %"]


def test_a_long_list_ends_with_the_number_of_the_rest():
    assert shorten(["a", "b"], 2) == "a, b"
    assert shorten(["a", "b", "c", "d"], 2) == "a, b and 2 more"
