"""Figures depend only on the answers, not on their order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.scores import ALL, ScoredPhoto, count_confusions, list_misses, measure_calibration, score

CLASSES = ("Apple", "Banana", "Cherry", "Date")


def answer(number: int, label: str, guess: str, probability: float = 0.9, source: str = "turntable") -> ScoredPhoto:
    return ScoredPhoto(f"{number:064x}", f"{number}.jpg", source, label, guess, probability, 0.0)


answers_of = st.lists(
    st.builds(
        answer,
        st.integers(0, 10**9),
        st.sampled_from(CLASSES[:3]),  # of the last one there is never a photo
        st.sampled_from((*CLASSES, "Elder")),  # an older model may know other classes
        st.floats(0, 1, width=32),
        st.sampled_from(("turntable", "shop", "garden")),
    ),
    unique_by=lambda item: item.sha256,
    max_size=60,
)


@given(answers_of, st.randoms(use_true_random=False))
def test_order_of_answers_does_not_change_figures(answers: list[ScoredPhoto], dice: random.Random):
    shuffled = list(answers)
    dice.shuffle(shuffled)

    assert score(shuffled, CLASSES) == score(answers, CLASSES)
    assert count_confusions(shuffled, CLASSES) == count_confusions(answers, CLASSES)
    assert measure_calibration(shuffled) == measure_calibration(answers)
    assert list_misses(shuffled, 5) == list_misses(answers, 5)


@given(answers_of)
def test_every_answer_is_counted_once_everywhere(answers: list[ScoredPhoto]):
    slices, confusion = score(answers, CLASSES), count_confusions(answers, CLASSES)

    assert slices[ALL]["n"] == len(answers) == sum(part["n"] for name, part in slices.items() if name != ALL)
    assert sum(item["n"] for item in measure_calibration(answers)["bins"]) == len(answers)
    for name, part in slices.items():
        assert sum(item["n"] for item in part["classes"].values()) == part["n"]
        counts = {
            (confusion["labels"][truth], confusion["labels"][guess]): n for truth, guess, n in confusion["pairs"][name]
        }
        assert len(counts) == len(confusion["pairs"][name])
        assert all(counts.values()), "only pairs that occurred"
        for label in CLASSES:
            assert sum(n for (truth, _), n in counts.items() if truth == label) == part["classes"][label]["n"]
            assert counts.get((label, label), 0) == part["classes"][label]["correct"]


def test_an_empty_class_is_a_row_with_none_and_never_the_worst():
    found = score([answer(1, "Apple", "Apple"), answer(2, "Banana", "Apple")], CLASSES)["turntable"]

    assert found["classes"]["Date"] == {"n": 0, "correct": 0}
    assert found["worst"] == {"label": "Banana", "accuracy": 0.0, "n": 1}


def test_no_photos_at_all_have_no_accuracy():
    found = score([], CLASSES)

    assert found["shop"]["n"] == 0
    assert found["shop"]["accuracy"] is None
    assert found["shop"]["worst"] is None
    assert measure_calibration([])["ece"] is None


def test_of_equally_bad_classes_the_one_with_more_photos_is_the_worst():
    answers = [answer(1, "Apple", "Date"), answer(2, "Banana", "Date"), answer(3, "Banana", "Date")]

    assert score(answers, CLASSES)["turntable"]["worst"]["label"] == "Banana"


def test_calibration_is_the_gap_between_confidence_and_accuracy():
    sure_and_half_right = [answer(n, "Apple", "Apple" if n % 2 else "Date", 0.95) for n in range(100)]

    found = measure_calibration(sure_and_half_right)

    assert found["ece"] == pytest.approx(0.45)
    assert found["bins"][9] == {"low": 0.9, "high": 1.0, "n": 100, "confidence": 0.95, "accuracy": 0.5}


def test_a_certain_answer_falls_into_the_topmost_bin():
    assert measure_calibration([answer(1, "Apple", "Apple", 1.0)])["bins"][9]["n"] == 1


def test_the_most_confident_misses_of_each_source_are_listed():
    answers = [answer(n, "Apple", "Date", n / 100) for n in range(50)]
    answers += [answer(99, "Apple", "Date", 0.01, "shop"), answer(98, "Apple", "Apple", 1.0)]

    listed = list_misses(answers, 3)

    assert [(miss["source"], miss["probability"]) for miss in listed] == [
        ("turntable", 0.49),
        ("turntable", 0.48),
        ("turntable", 0.47),
        ("shop", 0.01),
    ]
