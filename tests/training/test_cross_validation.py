"""Cross-validation on groups: it shows what other visits will show, and no class or fold is counted that was not tested."""

from __future__ import annotations

import numpy as np
import pytest

from orchard.errors import DataError
from orchard.reporter import Reporter
from tests.training.simulated_visits import simulate
from training.model.cross_validation import cross_validate
from training.model.linear_probe import LinearProbe
from training.model.photo_groups import NEVER, folds, group_photos


def grouped(visits, labels=None, k=5):
    labels = visits.labels if labels is None else labels
    return group_photos(visits.paths, [str(label) for label in labels], visits.digests, [visits.features], k=k, seed=7)


def validate(features, labels, assigned, classes=None):
    names = [f"class {number}" for number in range(classes or labels.max() + 1)]
    probe = LinearProbe(features, labels.astype(np.int32), len(names))
    return cross_validate(labels.astype(np.int32), names, assigned, probe, Reporter.silent())


@pytest.mark.parametrize("seed", [1, 5])
def test_groups_show_the_level_of_other_visits_and_random_folds_do_not(seed):
    visits = simulate(classes=10, visits=9, spread=(0.4, 1.0, 0.4, 0.1), seed=seed)
    seen, other = np.flatnonzero(visits.visits % 9 < 5), np.flatnonzero(visits.visits % 9 >= 5)
    features, labels = visits.features[seen], visits.labels[seen]
    paths, digests = ([names[place] for place in seen] for names in (visits.paths, visits.digests))
    groups = group_photos(paths, [str(label) for label in labels], digests, [features], k=5, seed=7)

    by_groups = validate(features, labels, folds(groups, 5)).count()["accuracy"]
    at_random = validate(features, labels, np.arange(len(labels)) % 5).count()["accuracy"]
    predicted = LinearProbe(visits.features, visits.labels, 10)(seen, other).argmax(axis=1)
    truth = (predicted == visits.labels[other]).mean()

    assert at_random > truth + 0.15
    assert abs(by_groups - truth) < (at_random - truth) / 2


def test_models_never_see_the_fold_that_they_predict():
    labels, assigned = np.zeros(9, np.int32), np.array([0, 0, 1, 1, 2, 2, NEVER, NEVER, 2], np.int32)
    calls = []

    def record(train, test):
        calls.append((train.tolist(), test.tolist()))
        return np.ones((len(test), 1))

    cross_validate(labels, ["one"], assigned, record, Reporter.silent())

    assert [test for _, test in calls] == [[0, 1], [2, 3], [4, 5, 8]]
    for train, test in calls:
        assert sorted(train + test) == list(range(9))
        assert {6, 7} <= set(train)


def test_document_counts_what_was_tested_with_intervals():
    visits = simulate(classes=3, spread=(0.4, 1.0, 0.5, 0.1))
    features = np.concatenate([visits.features, np.full((1, 64), 2, np.float32)])
    labels = np.append(visits.labels, 3)
    assigned = np.append(folds(grouped(visits), 5), NEVER).astype(np.int32)

    document = validate(features, labels, assigned).document

    assert (document["n"], document["never_tested"]) == (180, 1)
    assert sum(part["n"] for part in document["folds"]) == document["n"]
    assert sum(part["correct"] for part in document["classes"].values()) == document["correct"]
    assert document["interval"][0] < document["accuracy"] < document["interval"][1]
    assert document["classes"]["class 3"] == {
        "correct": 0,
        "n": 0,
        "accuracy": None,
        "interval": None,
        "never_tested": 1,
    }


def test_class_that_training_lacks_has_probability_zero():
    features = np.random.default_rng(1).normal(0, 1, (6, 4)).astype(np.float32)
    probe = LinearProbe(features, np.array([0, 0, 1, 1, 2, 3], np.int32), 5)

    several = probe(np.arange(4), np.array([4, 5]))
    one = probe(np.arange(2), np.array([4, 5]))

    assert np.allclose(several.sum(axis=1), 1)
    assert (several[:, 2:] == 0).all()
    assert one.tolist() == [[1, 0, 0, 0, 0]] * 2


def test_same_photos_give_the_same_figures():
    visits = simulate(classes=4)
    first, second = (validate(visits.features, visits.labels, folds(grouped(visits), 5)) for _ in range(2))

    assert np.array_equal(first.probabilities, second.probabilities)


def test_some_folds_alone_give_the_figures_that_they_have_among_all():
    visits = simulate(classes=4)
    assigned = folds(grouped(visits), 5)
    whole = validate(visits.features, visits.labels, assigned)
    probe = LinearProbe(visits.features, visits.labels, 4)

    part = cross_validate(visits.labels, whole.classes, assigned, probe, Reporter.silent(), only=(1, 3))

    chosen = np.isin(assigned, (1, 3))
    assert np.array_equal(part.tested, chosen)
    assert part.count() == whole.count(chosen)
    assert part.document["folds"] == [whole.document["folds"][number] for number in (1, 3)]


def test_nothing_to_test_and_other_shapes_are_errors():
    with pytest.raises(DataError, match="no class has two groups"):
        validate(np.zeros((3, 2), np.float32), np.arange(3), np.full(3, NEVER, np.int32))
    for wrong in (np.ones((2, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="expected finite probabilities"):
            cross_validate(
                np.zeros(4, np.int32),
                ["a", "b"],
                np.array([0, 0, 1, 1], np.int32),
                lambda train, test, wrong=wrong: wrong,
                Reporter.silent(),
            )
