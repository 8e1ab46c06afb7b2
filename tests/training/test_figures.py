"""Precision, recall, F1 and top-3 accuracy by source and class, each with an interval that holds what it claims."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from orchard.documents import MAX_BYTES, canonical_json, encode
from orchard.intervals import f1_interval, mean_interval, share_interval
from orchard.registry.manifest import Manifest
from tests.orchard.version_fixtures import facts
from tests.training.test_evaluate_scores import CLASSES, answer, answers_of
from training.cli.evaluate import _shown
from training.evaluation.figures import measure_figures
from training.evaluation.manifest_metrics import collect_metrics
from training.evaluation.score_model import _rank
from training.evaluation.scores import ScoredPhoto, count_confusions, measure_calibration, score


def ranked(number: int, label: str, guess: str, rank: int, source: str = "shop") -> ScoredPhoto:
    return ScoredPhoto(f"{number:064x}", f"{number}.jpg", source, label, guess, 0.9, 0.1, rank)


def figures_of(item: Any) -> list[dict[str, float]]:
    """All figures inside a document."""
    if not isinstance(item, dict):
        return []
    return [item] if "low" in item else [found for part in item.values() for found in figures_of(part)]


def test_figures_of_a_class_are_those_of_its_confusion():
    answers = [ranked(n, "Apple", "Apple", 1) for n in range(3)]
    answers += [ranked(3, "Apple", "Banana", 2), ranked(4, "Banana", "Apple", 4), ranked(5, "Banana", "Apple", 3)]

    found = measure_figures(answers, CLASSES)

    apple = found["shop"]["classes"]["Apple"]
    assert (apple["n"], apple["correct"], apple["predicted"]) == (4, 3, 5)
    values = {name: apple[name]["value"] for name in ("precision", "recall", "f1", "top3")}
    assert values == {"precision": 3 / 5, "recall": 3 / 4, "f1": pytest.approx(2 * 3 / 9), "top3": 1.0}
    assert found["shop"]["classes"]["Banana"]["top3"]["value"] == 0.5
    assert found["shop"]["macro_f1"]["value"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-6)
    assert found["shop"]["top3"]["value"] == pytest.approx(5 / 6, abs=1e-6)
    low, high = share_interval(3, 5)
    assert (apple["precision"]["low"], apple["precision"]["high"]) == pytest.approx((low, high), abs=2e-6)


def test_figures_that_cannot_be_measured_are_none():
    found = measure_figures([answer(1, "Apple", "Banana")], CLASSES)

    classes = found["turntable"]["classes"]
    assert classes["Apple"]["precision"] is None, "nothing was taken for it"
    assert classes["Banana"]["recall"] is classes["Banana"]["f1"] is None, "it has no photos"
    assert classes["Banana"]["precision"]["value"] == 0.0
    assert found["turntable"]["top3"] is None, "the ranks are not known"
    assert found["shop"].pop("classes")
    assert found["shop"] == dict.fromkeys(("accuracy", "top3", "macro_f1", "unsure", "sure_accuracy")) | {"n": 0}
    assert measure_figures([ranked(1, "Apple", "Apple", 1)], CLASSES[:3])["shop"]["top3"] is None, "of three classes"


@given(answers_of)
def test_every_figure_is_in_its_interval_and_order_does_not_matter(answers: list[ScoredPhoto]):
    found = measure_figures(answers, CLASSES)

    assert found == measure_figures(answers[::-1], CLASSES)
    for figure in figures_of(found):
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert figure["high"] > figure["low"]


def test_rank_of_the_truth_is_first_where_the_label_is_it_also_among_equals():
    probabilities = np.array([0.2, 0.4, 0.4, 0.0], np.float32)

    assert [_rank(probabilities, index) for index in range(4)] == [3, 1, 2, 4]


def test_interval_of_f1_is_that_of_the_share_it_grows_with():
    assert f1_interval(0, 5)[0] == 0.0
    assert f1_interval(5, 0)[1] == 1.0
    low, high = share_interval(6, 10)
    assert f1_interval(6, 4) == (2 * low / (1 + low), 2 * high / (1 + high))


def test_variance_of_macro_f1_is_that_of_the_delta_method():
    """Against slopes by finite differences. The classes have very unequal numbers of photos, so the mean is less certain."""
    table = np.array([[2, 3, 0], [1, 30, 9], [0, 20, 200]], float)
    share, step = table / table.sum(), 1e-7

    def mean_f1(cells: np.ndarray) -> float:
        return float((2 * np.diag(cells) / (cells.sum(axis=0) + cells.sum(axis=1))).mean())

    slopes = np.array(
        [[mean_f1(share + step * np.eye(9)[3 * i + j].reshape(3, 3)) for j in range(3)] for i in range(3)]
    )
    slopes = (slopes - mean_f1(share)) / step
    variance = ((share * slopes**2).sum() - (share * slopes).sum() ** 2) / table.sum()
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(int(table[i, j]))]
    answers = [ranked(n, CLASSES[i], CLASSES[j], 1) for n, (i, j) in enumerate(pairs)]

    found = measure_figures(answers, CLASSES)["shop"]["macro_f1"]

    mean = mean_f1(share)
    assert mean * (1 - mean) / variance < table.sum() / 3, "the effective number of photos is far below all"
    expected = (mean, *mean_interval(mean, variance, int(table.sum())))
    assert (found["value"], found["low"], found["high"]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("photos", "right"), [(133, 0.8), (133, 0.97), (40, 0.97)])
def test_about_95_of_100_intervals_hold_the_true_figures(photos: int, right: float):
    """26 classes as in the shop, each with its own accuracy and two neighbours that it is taken for."""
    draws, names = random.Random(3), [f"c{n:02d}" for n in range(26 if photos > 50 else 4)]  # noqa: S311 (no secret)
    chance = {name: min(0.99, max(0.3, draws.gauss(right, 0.1 * (right < 0.9)))) for name in names}
    others = {name: draws.sample([other for other in names if other != name], 2) for name in names}
    seen = {name: photos // len(names) + (index < photos % len(names)) for index, name in enumerate(names)}
    hits = {name: seen[name] * chance[name] for name in names}
    taken = {
        name: sum(seen[o] * (1 - chance[o]) / 2 for o in names if name in others[o]) + hits[name] for name in names
    }
    truth = sum(2 * hits[name] / (seen[name] + taken[name]) for name in names) / len(names)
    held, single = 0, 0
    for _ in range(200):
        answers = [
            ranked(n, name, name if draws.random() < chance[name] else draws.choice(others[name]), 1)
            for name in names
            for n in range(seen[name])
        ]
        found = measure_figures(answers, names)["shop"]
        held += found["macro_f1"]["low"] <= truth <= found["macro_f1"]["high"]
        one = found["classes"][names[0]]["f1"]
        single += one["low"] <= 2 * hits[names[0]] / (seen[names[0]] + taken[names[0]]) <= one["high"]

    assert held / 200 >= 0.9
    assert single / 200 >= 0.9


def test_interval_of_a_mean_is_not_empty_where_all_photos_are_right():
    low, high = mean_interval(1.0, 0.0, 20)

    assert (low, high) == (pytest.approx(share_interval(20, 20)[0]), 1.0)
    assert mean_interval(0.5, 1e-9, 20) == share_interval(10, 20), "never narrower than all photos allow"


def test_a_manifest_and_the_record_of_a_step_hold_a_thousand_classes():
    names = [f"A class with a long name, number {n}" for n in range(1000)]
    answers = [
        ranked(n, name, names[n // 2], 1 + n % 5, source)
        for source in ("turntable", "shop")
        for n, name in enumerate(names)
    ]
    document = {
        "slices": score(answers, names),
        "figures": measure_figures(answers, names),
        "confusion": count_confusions(answers, names),
        "calibration": measure_calibration(answers),
        "looks": {"number": 1, "total": 1},
        "size_bytes": 1,
    }
    metrics = {name: float(value) for name, value in collect_metrics(document).items()}
    known = facts(metrics=metrics, classes=tuple(names))
    manifest = Manifest(1, "fruits", 1, "0" * 64, (), {}, run_id=None, created="", **_fields(known))

    assert {"shop.macro_f1", "shop.top3", "turntable.macro_f1", "all.macro_f1"} <= metrics.keys()
    assert len(canonical_json(encode(manifest))) < MAX_BYTES
    assert len(json.dumps(_shown(document))) < MAX_BYTES
    assert _shown(document)["figures"]["shop"]["classes"] is None, "more than MAX_CLASSES, over both sources"


def _fields(known: Any) -> dict[str, Any]:
    names = ("ops", "classes", "dataset", "params_digest", "code", "metrics", "gate", "created_by")
    return {name: getattr(known, name) for name in names}


def test_unsure_answers_are_counted_and_the_others_judged_apart():
    guesses = ["Banana", "Apple", *["Apple"] * 8]
    answers = [replace(ranked(place, "Apple", guess, 1), unsure=place < 3) for place, guess in enumerate(guesses)]

    found = measure_figures(answers, CLASSES)["shop"]

    assert found["unsure"]["value"] == 0.3
    assert found["sure_accuracy"]["value"] == 1
    assert found["accuracy"]["value"] == 0.9
    silent = measure_figures([replace(item, unsure=None) for item in answers], CLASSES)["shop"]
    assert silent["unsure"] is silent["sure_accuracy"] is None
