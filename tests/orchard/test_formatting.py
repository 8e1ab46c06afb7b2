"""Percentages: one function, which cuts and never rounds up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.formatting import percent, shorten


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.92999, 1, "92.9 %"),
        (0.99999, 2, "99.99 %"),
        (1.0, 2, "100.00 %"),
        (0.29, 2, "29.00 %"),
        (0.96, 1, "96.0 %"),
        (1 - 1e-6, 1, "99.9 %"),
        (0.0, 1, "0.0 %"),
        (None, 1, "–"),
    ],
)
def test_share_is_cut(share, digits, text):
    assert percent(share, digits) == text


@given(st.integers(1, 100_000), st.data(), st.integers(0, 3))
def test_written_percentage_is_never_above_the_share(n, data, digits):
    share = data.draw(st.integers(0, n)) / n

    written = float(percent(share, digits).removesuffix(" %"))

    assert written <= 100 * share + 1e-6
    assert written > 100 * share - 10**-digits - 1e-6


def test_a_long_list_ends_with_the_number_of_the_rest():
    assert shorten(["a", "b"], 2) == "a, b"
    assert shorten(["a", "b", "c", "d"], 2) == "a, b and 2 more"
