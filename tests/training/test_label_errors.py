"""Wrong labels are found: single ones, whole bursts, in classes of any size; hard photos are not listed before them."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from orchard.reporter import Reporter
from tests.training.simulated_visits import flip, simulate
from training.data.validation.label_errors import EVEN, confident_joint, find_suspects, neighbour_votes
from training.model.cross_validation import cross_validate
from training.model.linear_probe import LinearProbe
from training.model.photo_groups import folds, group_photos

CLASSES = 8
HARD = (0.5, 1.0, 0.5, 0.15)
"""Visits differ more than classes do: of photos with right labels, models predict one of five wrongly."""


def witnesses(visits, labels, classes=CLASSES):
    """Return the out-of-fold probabilities and the votes of neighbours for photos with some labels."""
    groups = group_photos(
        visits.paths, [str(label) for label in labels], visits.digests, [visits.features], k=5, seed=7
    )
    probe = LinearProbe(visits.features, labels, classes)
    names = [str(number) for number in range(classes)]
    probabilities = cross_validate(labels, names, folds(groups, 5), probe, Reporter.silent()).probabilities
    return probabilities, neighbour_votes(visits.features, labels, groups.bursts, classes)


def flip_photos(visits, share):
    chosen = np.zeros(len(visits.labels), bool)
    chosen[np.random.default_rng(11).permutation(len(chosen))[: round(share * len(chosen))]] = True
    return chosen, flip(visits.labels, chosen, CLASSES)


def flip_bursts(visits, share):
    bursts = np.zeros(visits.bursts.max() + 1, bool)
    bursts[np.random.default_rng(11).permutation(len(bursts))[: round(share * len(bursts))]] = True
    steps = 1 + np.random.default_rng(5).integers(0, CLASSES - 1, len(bursts))
    chosen = bursts[visits.bursts]
    return chosen, np.where(chosen, (visits.labels + steps[visits.bursts]) % CLASSES, visits.labels).astype(np.int32)


def found_in(ranked, flipped, share):
    """The share of the flipped photos in the first `share` of the ranking, and the precision there."""
    top = np.array(ranked[: round(share * len(flipped))])
    return flipped[top].sum() / flipped.sum(), flipped[top].mean()


@pytest.mark.parametrize("damage", [flip_photos, flip_bursts])
def test_flipped_labels_are_in_the_first_suspects(damage):
    visits = simulate(classes=CLASSES, spread=HARD)
    flipped, labels = damage(visits, 0.1)

    suspects = find_suspects(*witnesses(visits, labels), labels)

    recall, precision = found_in([suspect.position for suspect in suspects], flipped, 0.12)
    assert recall >= 0.85
    assert precision >= 0.7
    right = [suspect.suggested == visits.labels[suspect.position] for suspect in suspects if flipped[suspect.position]]
    assert np.mean(right) >= 0.8, "the suggested class is what the photo shows"
    assert all(EVEN < suspect.score <= 1 and suspect.reasons for suspect in suspects)


def test_no_photo_is_suspect_where_labels_are_right_and_classes_are_apart():
    visits = simulate(classes=CLASSES, spread=(2.0, 0.5, 0.3, 0.1))

    assert find_suspects(*witnesses(visits, visits.labels), visits.labels) == []


def test_confident_learning_finds_what_cleanlab_finds():
    visits = simulate(classes=CLASSES, spread=HARD)
    flipped, labels = flip_photos(visits, 0.1)
    probabilities, votes = witnesses(visits, labels)

    _, confident = confident_joint(probabilities, labels)
    theirs = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    quality = get_label_quality_scores(labels, probabilities, method="normalized_margin")
    both = [suspect.position for suspect in find_suspects(probabilities, votes, labels)]

    predicted = probabilities.argmax(axis=1)
    assert np.array_equal((confident != labels) & (predicted != labels), theirs)
    assert found_in(both, flipped, 0.12)[0] >= found_in(np.argsort(quality), flipped, 0.12)[0]


def test_burst_that_was_labelled_wrongly_does_not_confirm_itself():
    visits = simulate(classes=CLASSES, spread=(1.0, 0.6, 0.9, 0.05))
    flipped, labels = flip_bursts(visits, 0.1)

    kept_apart = neighbour_votes(visits.features, labels, visits.bursts, CLASSES, count=3)
    confirmed = neighbour_votes(visits.features, labels, np.arange(len(labels)), CLASSES, count=2)

    assert (kept_apart.argmax(axis=1) == visits.labels)[flipped].mean() > 0.8
    assert (confirmed.argmax(axis=1) == labels)[flipped].all()


def test_photo_without_prediction_or_without_neighbours_is_judged_by_the_other_witness():
    nothing = np.full((1, 2), np.nan)
    label = np.array([0], np.int32)

    by_neighbours = find_suspects(nothing, np.array([[0.1, 0.9]]), label)
    by_prediction = find_suspects(
        np.array([[0.1, 0.9], [0.9, 0.1], [0.2, 0.8]]), np.zeros((3, 2)), np.array([0, 0, 1], np.int32)
    )
    by_nobody = find_suspects(nothing, np.zeros((1, 2)), label)

    assert [(found.suggested, found.reasons) for found in by_neighbours] == [(1, ("neighbours",))]
    assert [(found.position, found.suggested, found.reasons) for found in by_prediction] == [(0, 1, ("predicted",))]
    assert by_nobody == []


def test_one_photo_in_a_class_and_a_class_without_photos_break_nothing():
    visits = simulate(classes=3, visits=3, bursts=2)
    chosen = np.flatnonzero((visits.labels < 2) | (np.arange(len(visits.labels)) == 40))
    alone = type(visits)(
        visits.features[chosen],
        visits.labels[chosen],
        visits.visits[chosen],
        visits.bursts[chosen],
        [visits.paths[place] for place in chosen],
        [visits.digests[place] for place in chosen],
    )

    probabilities, votes = witnesses(alone, alone.labels, classes=5)
    joint, _ = confident_joint(probabilities, alone.labels)

    assert np.isnan(probabilities[alone.labels == 2]).all()
    assert joint.sum() == len(chosen) - 1
    assert joint[2:].sum() == 0
    assert np.allclose(votes.sum(axis=1), 1)
    find_suspects(probabilities, votes, alone.labels)


def test_fewer_photos_than_neighbours_and_equal_photos_break_nothing():
    features = np.zeros((3, 4), np.float32)

    votes = neighbour_votes(features, np.array([0, 1, 1], np.int32), np.arange(3, dtype=np.int32), 2)

    assert np.isfinite(votes).all()
