from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.documents import canonical_json
from orchard.errors import DataError
from orchard.gate import GateCheck, GateThresholds, decide, summary

THRESHOLDS = GateThresholds(
    accuracy={"turntable": 0.98, "shop": 0.9},
    worst_class={"turntable": 0.93},
    photos={"shop": 10},
    drop={"turntable": 0.01, "shop": 0.05},
    class_drop={"turntable": 0.05},
    class_drop_photos=3,
)


def part(**counts):
    """A slice from (n, correct) by class."""
    n, correct = (sum(count[index] for count in counts.values()) for index in (0, 1))
    asked = {label: count for label, count in counts.items() if count[0]}
    worst = min(asked, key=lambda label: asked[label][1] / asked[label][0]) if asked else None
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n if n else None,
        "worst": worst and {"label": worst, "accuracy": asked[worst][1] / asked[worst][0], "n": asked[worst][0]},
        "classes": {label: {"n": count[0], "correct": count[1]} for label, count in counts.items()},
    }


def evaluation(model="a" * 64, digest="d" * 64, **slices):
    whole = {
        "turntable": part(Apple=(100, 99), Nectarine=(164, 163), Plum=(50, 50)),
        "shop": part(Apple=(20, 19), Nectarine=(0, 0), Plum=(10, 9)),
        **slices,
    }
    return {"format": 1, "dataset": {"name": "fruits", "digest": digest}, "model": {"sha256": model}, "slices": whole}


def by_name(verdict):
    return {check.name: check for check in verdict.checks}


def test_good_candidate_without_a_predecessor_is_accepted():
    verdict = decide(evaluation(), None, THRESHOLDS)

    assert (verdict.verdict, verdict.reason, verdict.incumbent) == ("accepted", "all 6 checks passed", None)
    assert verdict.candidate == "a" * 64
    assert not any(".drop" in check.name or "class_drop" in check.name for check in verdict.checks)


def test_refusal_says_which_class_and_by_how_much():
    verdict = decide(evaluation(turntable=part(Apple=(1000, 1000), Nectarine=(164, 111))), None, THRESHOLDS)

    assert verdict.verdict == "refused"
    assert [check.name for check in verdict.failed] == ["turntable.accuracy", "turntable.worst_class.Nectarine"]
    assert "Nectarine, turntable: 67.6 % (60.1–74.4) of 164 right, the threshold is 93 %" in verdict.reason
    assert verdict.reason.startswith("2 of 5 checks failed: All classes, turntable: 95.4 % (94.0–96.6) of 1164 right")


def test_class_without_photos_is_shown_and_not_checked():
    thresholds = GateThresholds(worst_class={"shop": 0.9})

    verdict = decide(evaluation(), None, thresholds)

    check = by_name(verdict)["shop.worst_class.Nectarine"]
    assert (verdict.verdict, check.passed, check.value) == ("accepted", None, None)
    assert check.sentence == "Nectarine, shop: no photos, so it is not checked"


def test_loss_against_the_served_version_is_refused():
    served = evaluation("b" * 64)
    worse = evaluation(turntable=part(Apple=(100, 99), Nectarine=(164, 163), Plum=(50, 46)))

    verdict = decide(worse, served, GateThresholds(drop={"turntable": 0.01}, class_drop={"turntable": 0.05}))

    assert verdict.incumbent == "b" * 64
    assert [check.name for check in verdict.failed] == ["turntable.drop", "turntable.class_drop.Plum"]
    assert by_name(verdict)["turntable.class_drop.Plum"].sentence == (
        "Plum, turntable: 46 of 50 right (92.0 %), the served version 50 (100.0 %); at most 5 % may be lost; "
        "the loss may be noise (95 %: −0.7 to +18.9 points)"
    )


def test_a_loss_beyond_noise_is_not_called_noise():
    served = evaluation("b" * 64, shop=part(Apple=(1000, 900)))

    verdict = decide(evaluation(shop=part(Apple=(1000, 850))), served, GateThresholds(drop={"shop": 0.1}))

    assert "noise" not in by_name(verdict)["shop.drop"].sentence


def test_a_class_of_which_nothing_is_right_is_a_warning_even_when_all_checks_pass():
    verdict = decide(
        evaluation(shop=part(Apple=(100, 99), Plum=(5, 0), Kiwi=(0, 0))), None, GateThresholds(accuracy={"shop": 0.9})
    )

    assert verdict.verdict == "accepted"
    assert verdict.warnings == ("Plum, shop: not one of 5 photos is right",)
    assert verdict.reason == "all 1 checks passed, with warnings: Plum, shop: not one of 5 photos is right"


def test_a_threshold_inside_the_interval_is_said_to_be_unsure():
    verdict = decide(
        evaluation(shop=part(Apple=(133, 108))),
        None,
        GateThresholds(accuracy={"shop": 0.79}, worst_class={"shop": 0.5}),
    )

    unsure, sure = by_name(verdict)["shop.accuracy"], by_name(verdict)["shop.worst_class.Apple"]
    assert "inside the 95 % interval: more photos would make it sure" in unsure.sentence
    assert "interval" not in sure.sentence


def test_few_photos_are_no_drop_of_a_class():
    served = evaluation(turntable=part(Apple=(10, 10), Plum=(500, 500)))
    candidate = evaluation(turntable=part(Apple=(10, 8), Plum=(500, 500)))

    checks = {
        least: by_name(
            decide(candidate, served, GateThresholds(class_drop={"turntable": 0.05}, class_drop_photos=least))
        )
        for least in (2, 3)
    }

    assert checks[2]["turntable.class_drop.Apple"].passed is False
    assert checks[3]["turntable.class_drop.Apple"].passed is True
    assert checks[3]["turntable.class_drop.Apple"].sentence.endswith(
        "and fewer than 3 photos are not a drop; the loss may be noise (95 %: −11.3 to +51.0 points)"
    )


def test_drop_that_is_exactly_the_threshold_passes():
    served, candidate = (evaluation(shop=part(Apple=(100, correct))) for correct in (95, 94))

    assert decide(candidate, served, GateThresholds(drop={"shop": 0.01})).verdict == "accepted"


def test_figure_below_a_threshold_never_looks_as_if_it_reached_it():
    verdict = decide(evaluation(shop=part(Apple=(10_000, 9_299))), None, GateThresholds(accuracy={"shop": 0.93}))

    assert "92.9 % (92.4–93.5) of 10000 right, the threshold is 93 %, inside the 95 % interval" in verdict.reason


def test_class_of_which_the_served_version_has_no_photos_is_not_checked():
    served = evaluation(turntable=part(Apple=(10, 10), Kiwi=(0, 0)))
    candidate = evaluation(turntable=part(Apple=(10, 10), Kiwi=(0, 0)))

    check = by_name(decide(candidate, served, GateThresholds(class_drop={"turntable": 0.1})))[
        "turntable.class_drop.Kiwi"
    ]

    assert check.passed is None


def spoil(path, value):
    found = evaluation()
    inner = found["slices"]
    for step in path[:-1]:
        inner = inner[step]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("shop",), KeyError),
        (("shop",), None),
        (("shop",), part()),
        (("shop", "accuracy"), float("nan")),
        (("shop", "accuracy"), float("inf")),
        (("shop", "accuracy"), None),
        (("shop", "accuracy"), "0.99"),
        (("shop", "accuracy"), True),
        (("shop", "accuracy"), 0.99),
        (("shop", "accuracy"), KeyError),
        (("shop", "n"), KeyError),
        (("shop", "n"), 30.0),
        (("shop", "n"), 3000),
        (("shop", "correct"), 31),
        (("shop", "correct"), -1),
        (("shop", "classes"), KeyError),
        (("shop", "classes"), {}),
        (("shop", "classes", "Apple"), {"n": 20}),
        (("shop", "classes", "Apple", "correct"), 20),
        (("shop", "classes", "Apple", "correct"), float("nan")),
    ],
    ids=str,
)
@pytest.mark.parametrize("whose", ["candidate", "incumbent"])
def test_invalid_figure_fails_the_check(path, value, whose):
    thresholds = GateThresholds(
        accuracy={"shop": 0.1} if whose == "candidate" else {},
        worst_class={"shop": 0.1} if whose == "candidate" else {},
        drop={"shop": 0.9},
        class_drop={"shop": 0.9},
    )
    spoiled = spoil(path, value)
    pair = (spoiled, evaluation()) if whose == "candidate" else (evaluation(), spoiled)

    verdict = decide(*pair, thresholds)

    assert verdict.verdict == "refused"
    assert all(check.passed is False for check in verdict.checks)
    assert "no valid figure" in verdict.reason
    canonical_json(verdict.document())


def test_too_few_photos_fail():
    verdict = decide(evaluation(), None, GateThresholds(photos={"shop": 31}))

    assert verdict.reason == "1 of 1 checks failed: Photos of shop: 30, at least 31 are needed"


def test_override_needs_a_reason_that_is_kept():
    thresholds = GateThresholds(accuracy={"shop": 0.99})

    verdict = decide(evaluation(), None, thresholds, override_reason=" the shop asked for it ")

    assert (verdict.verdict, verdict.reason) == ("overridden", "the shop asked for it")
    assert len(verdict.failed) == 1
    with pytest.raises(DataError, match="needs a written reason"):
        decide(evaluation(), None, thresholds, override_reason="  ")
    assert decide(evaluation(), None, GateThresholds(accuracy={"shop": 0.5}), override_reason="x").verdict == "accepted"


def test_checks_made_elsewhere_count():
    check = GateCheck("shop.baseline", 0.9, 0.95, False, "a simpler model is better")

    verdict = decide(evaluation(), None, THRESHOLDS, also=[check])

    assert verdict.verdict == "refused"
    assert verdict.reason == "1 of 7 checks failed: a simpler model is better"


def test_checks_made_elsewhere_are_not_thresholds():
    check = GateCheck("shop.baseline", 0.9, 0.8, True, "a simpler model is worse")

    with pytest.raises(DataError, match="no threshold is set"):
        decide(evaluation(), None, GateThresholds(), also=[check])


def test_evaluations_of_different_data_are_not_compared():
    with pytest.raises(DataError, match="of different data: the candidate's dataset is dddddddddddd"):
        decide(evaluation(), evaluation(digest="e" * 64), THRESHOLDS)


@pytest.mark.parametrize("missing", ["dataset", "model", "format"])
def test_evaluation_without_dataset_model_or_format_is_refused(missing):
    found = evaluation()
    del found[missing]

    with pytest.raises(DataError, match="of the candidate"):
        decide(found, None, THRESHOLDS)
    with pytest.raises(DataError, match="of the served version"):
        decide(evaluation(), found, THRESHOLDS)


def test_gate_without_thresholds_is_an_error():
    with pytest.raises(DataError, match="no threshold is set"):
        decide(evaluation(), None, GateThresholds())
    with pytest.raises(DataError, match="no threshold is set"):
        decide(evaluation(), None, GateThresholds(drop={"shop": 0.1}))


COUNTS = st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(st.dictionaries(st.sampled_from(["Apple", "Kiwi", "Plum"]), COUNTS, min_size=1), st.floats(0, 1), st.data())
def test_better_candidate_never_gets_a_worse_verdict(counts, threshold, data):
    thresholds = GateThresholds(accuracy={"shop": threshold}, worst_class={"shop": threshold})
    label = data.draw(st.sampled_from(sorted(counts)))
    n, correct = counts[label]
    better = {**counts, label: (n, data.draw(st.integers(correct, n)))}

    before, after = (decide(evaluation(shop=part(**item)), None, thresholds) for item in (counts, better))

    assert before.verdict == "refused" or after.verdict == "accepted"
    assert (before.verdict == "accepted") == (not before.failed)


NAMES = st.sampled_from(["shop", "n", "correct", "accuracy", "classes", "worst"])
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(GARBAGE)
def test_garbage_is_never_accepted(slices):
    found = {**evaluation(), "slices": slices}

    assert decide(found, None, GateThresholds(accuracy={"shop": 0.0})).verdict == "refused"
    assert decide(evaluation(), found, GateThresholds(drop={"shop": 1.0})).verdict == "refused"


def test_decision_changes_nothing_that_it_was_given():
    candidate, served = evaluation(), evaluation()
    copies = copy.deepcopy((candidate, served))

    decide(candidate, served, THRESHOLDS)

    assert (candidate, served) == copies


def test_summary_keeps_only_valid_figures():
    found = evaluation(all={"n": 3}, night=part())

    assert summary(found) == {
        "shop.n": 30,
        "shop.accuracy": 28 / 30,
        "shop.worst": 0.9,
        "turntable.n": 314,
        "turntable.accuracy": 312 / 314,
        "turntable.worst": 0.99,
    }
