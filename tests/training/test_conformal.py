"""The threshold of `unsure`: it keeps its promise on photos that it was not calibrated on, for every source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.model.conformal import UNCALIBRATED, calibrate


def guesses(dice, n, sharpness):
    """Probabilities of 5 classes, and labels that are drawn from them: a network that is as sure as it should be."""
    logits = dice.normal(0, sharpness, (n, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > dice.random((n, 1))).argmax(axis=1)
    return probabilities.astype(np.float32), labels.astype(np.int32)


@given(st.integers(0, 2**31), st.sampled_from([0.8, 0.9, 0.95]), st.floats(0.5, 6))
def test_right_class_is_possible_for_the_promised_share_of_later_photos(seed, coverage, sharpness):
    dice = np.random.default_rng(seed)
    n = 2000
    probabilities, labels = guesses(dice, 2 * n, sharpness)

    found = calibrate(probabilities[:n], labels[:n], ["shop"] * n, coverage)

    later = probabilities[np.arange(n, 2 * n), labels[n:]] >= found.threshold
    assert later.mean() >= coverage - 4 * np.sqrt(2 * coverage * (1 - coverage) / n)


def test_the_hardest_source_sets_the_threshold():
    dice = np.random.default_rng(1)
    easy, hard = guesses(dice, 5000, 8), guesses(dice, 200, 1)
    probabilities, labels = (np.concatenate(pair) for pair in zip(easy, hard, strict=True))
    sources = ["turntable"] * 5000 + ["shop"] * 200

    found = calibrate(probabilities, labels, sources, 0.9)

    assert found.threshold == calibrate(*hard, ["shop"] * 200, 0.9).threshold
    assert found.threshold < calibrate(probabilities, labels, ["any"] * 5200, 0.9).threshold
    assert found.photos == {"shop": 200, "turntable": 5000}
    assert found.unsure["turntable"] < found.unsure["shop"]


@pytest.mark.parametrize(("photos", "coverage", "threshold"), [(19, 0.9, UNCALIBRATED), (20, 0.99, 0.0)])
def test_too_few_photos_promise_nothing(photos, coverage, threshold):
    probabilities, labels = guesses(np.random.default_rng(2), photos, 3)

    assert calibrate(probabilities, labels, ["shop"] * photos, coverage).threshold == threshold
