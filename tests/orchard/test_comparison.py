"""What changed between two versions, judged as the gate judges it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchard.dataset import Dataset
from orchard.errors import DataError, IntegrityError
from orchard.estimates import estimate_share
from orchard.gate import GateThresholds, decide
from orchard.layout import version_report
from orchard.registry.comparison import ParamChange, PhotoChange, compare_params, compare_versions
from orchard.registry.manifest import DatasetRef
from orchard.registry.version_figures import figures_of
from orchard.registry.version_report import GateReport, SliceReport, VersionReport, keep_report, read_report
from tests.orchard.version_fixtures import MODEL, STRANGER, facts, registry_of, resigned, saved_model

PARAMS = {"train": {"epochs": 10, "seed": 7}, "model": {"sizes": [3, 5], "empty": {}}}


def slice_of(classes, confusion=(), more=0):
    n, correct = sum(part[0] for part in classes.values()), sum(part[1] for part in classes.values())
    return SliceReport(n, {"accuracy": estimate_share(correct, n)}, classes, tuple(confusion), more)


def publish(store, tmp_path, number, slices, *, params=PARAMS, test="t" * 64, photos=None, **changes):
    """Publish a version with a report."""
    metrics = {
        f"{name}.class.{label}.{key}": float(value)
        for name, part in slices.items()
        for label, (n, correct, _) in part.classes.items()
        for key, value in (("n", n), ("correct", correct))
    }
    for name, part in slices.items():
        metrics |= {f"{name}.n": float(part.n), f"{name}.accuracy": part.figures["accuracy"]["value"]}
    registry = registry_of(store)
    registry.publish(saved_model(tmp_path / str(number), number), facts(metrics=metrics, **changes))
    manifest = registry.manifest(number)
    gate = GateReport(4, (), (), "Compared with no version.")
    report = VersionReport(1, MODEL, number, manifest.document_sha256, params, test, photos, slices, gate)
    return keep_report(registry, report)


@pytest.fixture
def two(memory, tmp_path):
    """Version 2 is much worse on plums, a little worse on apples, and as good on grapes."""
    publish(
        memory, tmp_path, 1,
        {"shop": slice_of({"Apple": (50, 48, 50), "Grape": (20, 20, 20), "Plum": (50, 48, 50)}, [("Plum", "Apple", 2)])},
    )  # fmt: skip
    publish(
        memory, tmp_path, 2,
        {"shop": slice_of({"Apple": (50, 47, 70), "Grape": (20, 20, 20), "Plum": (50, 27, 30)}, [("Plum", "Grape", 23)])},
        params={"train": {"epochs": 12, "seed": 7, "rate": 0.1}, "model": {"sizes": [3, 5], "empty": {}}},
        params_digest="f" * 64,
    )  # fmt: skip
    return memory


def test_classes_come_by_the_size_of_their_change_and_are_judged_as_by_the_gate(two):
    found = compare_versions(registry_of(two), 1, 2)

    assert [(one.label, one.recall.judgement) for one in found.classes] == [
        ("Plum", "worse"),
        ("Apple", "within noise"),
    ]
    assert [(one.name, one.judgement) for one in found.figures] == [("accuracy", "worse")]
    back = compare_versions(registry_of(two), 2, 1)
    assert [one.recall.judgement for one in back.classes] == ["better", "within noise"]
    assert back.figures[0].difference == -found.figures[0].difference

    def evaluation(number):
        classes = registry_of(two).manifest(number).metrics
        counts = {
            label: {"n": int(classes[f"shop.class.{label}.n"]), "correct": int(classes[f"shop.class.{label}.correct"])}
            for label in ("Apple", "Grape", "Plum")
        }
        n, correct = (sum(part[key] for part in counts.values()) for key in ("n", "correct"))
        part = {"n": n, "correct": correct, "accuracy": correct / n, "classes": counts}
        return {"format": 1, "dataset": {"digest": "d"}, "model": {"sha256": str(number)}, "slices": {"shop": part}}

    verdict = decide(evaluation(2), evaluation(1), GateThresholds(drop={"shop": 0.0}, class_drop={"shop": 0.0}))
    noise = {check.name: "may be noise" in check.sentence for check in verdict.checks}
    assert noise == {
        "shop.drop": False,
        "shop.class_drop.Apple": True,
        "shop.class_drop.Grape": False,  # nothing was lost
        "shop.class_drop.Plum": False,
    }


def test_pairs_that_appeared_or_vanished(two):
    found = compare_versions(registry_of(two), 1, 2)

    assert [(one.label, one.guess, one.before, one.after) for one in found.confusion] == [
        ("Plum", "Grape", 0, 23),
        ("Plum", "Apple", 2, 0),
    ]


def test_a_pair_for_which_a_report_had_no_room_did_not_vanish(memory, tmp_path):
    publish(memory, tmp_path, 1, {"shop": slice_of({"Plum": (9, 8, 8)}, [("Plum", "Apple", 1)])})
    publish(memory, tmp_path, 2, {"shop": slice_of({"Plum": (9, 7, 8)}, [("Plum", "Grape", 1)], more=1)})

    found = compare_versions(registry_of(memory), 1, 2)

    assert [(one.guess, one.after) for one in found.confusion] == [("Grape", 1)]


def test_parameters_by_name(two):
    assert compare_versions(registry_of(two), 1, 2).params == (
        ParamChange("train.epochs", 10, 12),
        ParamChange("train.rate", None, 0.1),
    )
    assert compare_params({"a": 1, "b": None}, {"a": 1.0}) == (
        ParamChange("a", 1, 1.0),
        ParamChange("b", None, None),
    ), "the digest of the parameters differs, so they do"


@pytest.mark.parametrize(("test", "same"), [("t" * 64, True), ("u" * 64, False), (None, None)])
def test_figures_are_judged_on_the_same_test_photos_only(memory, tmp_path, test, same):
    slices = {"shop": slice_of({"Plum": (50, 48, 50)})}
    publish(memory, tmp_path, 1, slices)
    other = DatasetRef("fruits", 2, "c" * 64)
    publish(memory, tmp_path, 2, {"shop": slice_of({"Plum": (50, 20, 20)})}, test=test, dataset=other)

    found = compare_versions(registry_of(memory), 1, 2)

    assert found.same_photos is same
    assert found.figures[0].judgement == ("worse" if same else None)
    assert found.figures[0].difference == pytest.approx(-0.56)
    assert found.photos is None, "the store has no catalogue of either dataset"


def test_photos_by_source_from_the_reports_and_by_class_from_the_catalogues(memory, tmp_path):
    slices = {"shop": slice_of({"Plum": (50, 48, 50)})}
    refs = []
    for number, count in enumerate((5, 8), start=1):
        index = {"counts": {"train": {"Plum": count}, "test": {"Plum": 2}}}
        commit = Dataset(memory, "fruits").commit(index, "dvc", parent=number - 1 or None, created_by="anna")
        refs.append(DatasetRef("fruits", number, commit.version.digest))
    by_source = [{"train": {"Plum": {"shop": 3, "web": n}}} for n in (2, 5)]
    for number, ref in enumerate(refs, start=1):
        publish(memory, tmp_path, number, slices, dataset=ref, photos=by_source[number - 1])
    publish(memory, tmp_path, 3, slices, dataset=refs[1])

    assert compare_versions(registry_of(memory), 1, 2).photos == (PhotoChange("train", "Plum", "web", 2, 5),)
    # version 3 is the same dataset as 2, but its report does not count sources
    assert compare_versions(registry_of(memory), 1, 3).photos == (PhotoChange("train", "Plum", None, 5, 8),)
    assert compare_versions(registry_of(memory), 2, 3).photos == ()


def test_versions_of_before_have_what_their_manifests_have(memory, tmp_path):
    registry = registry_of(memory)
    for number, correct in ((1, 48.0), (2, 20.0)):
        metrics = {"shop.accuracy": correct / 50, "shop.n": 50.0, "shop.class.Pl.um.n": 50.0}
        metrics["shop.class.Pl.um.correct"] = correct
        registry.publish(saved_model(tmp_path / str(number), number), facts(metrics=metrics))

    found = compare_versions(registry, 1, 2)

    assert (found.params, found.confusion, found.same_params, found.same_photos) == (None, None, True, True)
    assert [(one.name, one.judgement) for one in found.figures] == [("accuracy", "worse")]
    (change,) = found.classes
    assert (change.label, change.recall.judgement, change.f1.before) == ("Pl.um", "worse", None)


def test_a_report_is_of_its_manifest_and_signed(memory, tmp_path):
    report = publish(memory, tmp_path, 1, {"shop": slice_of({"Plum": (50, 48, 50)})})
    registry = registry_of(memory)
    manifest = registry.manifest(1)
    assert read_report(registry, manifest) == report
    other = replace(report, params={})
    assert keep_report(registry, other) == report, "it is created once"

    figures = figures_of(manifest, report)["shop"].classes["Plum"]
    assert (figures.predicted, figures.figures["precision"]) == (50, estimate_share(48, 50))
    with pytest.raises(IntegrityError, match="the report of another manifest"):
        read_report(registry, replace(manifest, document_sha256="0" * 64))
    memory.put(version_report(MODEL, 1), resigned({"version": 1}, STRANGER))
    with pytest.raises(IntegrityError, match="unknown key"):
        read_report(registry, manifest)


def test_a_version_that_does_not_exist_is_answered_with_those_that_do(two):
    with pytest.raises(DataError, match="no version 7") as caught:
        compare_versions(registry_of(two), 1, 7)
    assert "it has 1 to 2" in caught.value.hint
