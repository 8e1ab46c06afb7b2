"""Photos whose folders name no split: which of them test the model."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.cli import main
from tests import photo_files
from training.data import shards
from training.data.ingest.scan import ScannedPhoto
from training.data.ingest.test_share import assign_splits


@pytest.fixture
def run(workspace, capsys):
    """Run `orchard ingest … --test-share 0.25`; return the exit code and the printed document."""

    def call(*arguments):
        options = ["--dataset", "farm", "--no-push", "--json", "--test-share", "0.25"]
        code = main(["ingest", *map(str, arguments), *options])
        return code, json.loads(capsys.readouterr().out or "{}")

    return call


@pytest.fixture
def plain(workspace):
    """<class>/<photo>: eight photos of each of four classes."""
    photo_files.fill(workspace / "farm")
    for path in sorted((workspace / "farm").glob("*/*/*.jpg")):
        target = workspace / "plain" / path.parent.name / f"{path.parents[1].name}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    shutil.rmtree(workspace / "farm")
    return workspace / "plain"


def splits(workspace):
    batches = shards.iterate(workspace / "data" / "farm", columns=("sha256", "split"))
    return {row["sha256"]: row["split"] for batch in batches for row in batch.to_pylist()}


def test_a_share_of_each_class_tests_the_model_if_no_folder_names_a_split(workspace, plain, run):
    code, result = run(plain)

    assert code == 0
    assert set(result["counts"]["train"].values()) == {6}
    assert set(result["counts"]["test"].values()) == {2}
    assert result["without_split"] == 32


def test_folders_and_archives_without_splits_give_the_same_dataset(workspace, plain, run):
    (plain / "LICENSE").write_text("free")
    with tarfile.open(workspace / "named.tar", "w") as named, tarfile.open(workspace / "plain.tar", "w") as flat:
        named.add(plain, "plain")
        for path in sorted(plain.iterdir()):
            flat.add(path, path.name)

    digests = []
    for source in (plain, workspace / "named.tar", workspace / "plain.tar"):
        code, result = run(source)
        assert (code, result["refused"]) == (0, 0)
        digests.append(result["digest"])
        shutil.rmtree(workspace / "data")
    assert len(set(digests)) == 1


def test_more_photos_never_move_one_to_another_split(workspace, plain, run):
    moved = sorted(plain.rglob("*.jpg"))[::2]
    for path in moved:
        path.rename(path.with_suffix(".later"))
    later = workspace / "later"
    shutil.move(plain, later)
    for path in sorted(later.rglob("*.jpg")):
        target = plain / path.relative_to(later)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    run(plain)
    before = splits(workspace)
    for path in sorted(later.rglob("*.later")):
        path.rename(path.with_suffix(".jpg"))
    shutil.rmtree(plain)
    shutil.move(later, plain)

    code, result = run(plain)

    after = splits(workspace)
    assert (code, result["refused"], len(before), len(after)) == (0, 0, 16, 32)
    assert {digest: after[digest] for digest in before} == before
    assert set(result["counts"]["test"].values()) == {2}


def test_splits_that_folders_name_count_and_are_never_mixed_with_others(workspace, run):
    farm = photo_files.fill(workspace / "farm")
    code, result = run(farm)
    assert (code, result["without_split"]) == (0, 0)
    shutil.rmtree(workspace / "data")
    label = photo_files.CLASSES[0]
    (farm / "more" / label).mkdir(parents=True)
    for number in (5, 15, 25):
        (farm / "more" / label / f"{number}.jpg").write_bytes(photo_files.jpeg(label, number))

    assert run(farm)[0] == 4


@pytest.mark.parametrize("name", ["Testing_2", "training_set", "valid2", "dev", "eval_set"])
def test_a_folder_that_is_meant_as_a_split_is_never_taken_for_another_one(workspace, plain, run, name):
    (workspace / "box").mkdir()
    plain.rename(workspace / "box" / name)

    assert run(workspace / "box")[0] == 4


def test_two_shares_or_splits_contradict_each_other(workspace, plain, run):
    assert run(plain, "--split", "train")[0] == 2


def scanned(number, label, group="", split=""):
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return ScannedPhoto(f"{number}.jpg", f"{number}.jpg", label, split, "own", digest, digest, 9, 9, 0, 1, group)


PHOTOS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.sampled_from(["", *"uvwxyz"])),
    min_size=1,
    max_size=60,
    unique_by=lambda photo: photo[0],
)


@settings(max_examples=150, deadline=None)
@given(photos=PHOTOS, known=st.integers(0, 60), share=st.sampled_from([0.1, 0.25, 0.5]))
def test_groups_are_never_divided_and_known_photos_keep_their_split(photos, known, share):
    rows = [scanned(*photo) for photo in photos]
    before = assign_splits(rows[:known], {}, share).rows
    present = {row.pixels_sha256: (row.split, row.label) for row in before}

    found = assign_splits(rows, present, share)

    splits = {row.pixels_sha256: row.split for row in found.rows}
    assert set(splits.values()) <= {"train", "test"}
    assert {pixels: splits[pixels] for pixels in present} == {pixels: split for pixels, (split, _) in present.items()}
    groups = defaultdict(set)
    for row in found.rows:
        groups[row.group].add(row.split)
    assert all(len(sides) == 1 for group, sides in groups.items() if group)
    assert assign_splits(reversed(rows), present, share).warnings == found.warnings
    assert Counter(row.split for row in assign_splits(rows[::-1], present, share).rows) == Counter(splits.values())
    units = defaultdict(set)
    for _, label, group in photos:
        units[label].add(group or len(units[label]))
    for label in units:
        sides = {row.split for row in found.rows if row.label == label}
        assert "train" in sides or known, "only photos that the dataset has leave a class without training photos"


@pytest.mark.parametrize("size", [1, 2, 5, 10])
def test_share_of_each_class_is_kept_as_near_as_its_groups_allow(size):
    rows = [scanned(f"{label}{number}", label, f"{label}{number // size}") for label in "ab" for number in range(100)]

    counts = Counter((row.label, row.split) for row in assign_splits(rows, {}, 0.2).rows)

    assert (counts["a", "test"], counts["b", "test"]) == (20, 20)


def test_groups_with_photos_of_several_classes_are_balanced_over_all():
    rows = [
        scanned(f"{visit} {label} {n}", label, f"visit {visit}")
        for visit in range(20)
        for label in "abc"
        for n in range(3)
    ]

    counts = Counter((row.label, row.split) for row in assign_splits(rows, {}, 0.2).rows)

    assert {counts[label, "test"] for label in "abc"} == {12}


def test_two_large_groups_of_a_class_are_one_for_each_split():
    rows = [scanned(number, "a", "first" if number < 5 else "second") for number in range(10)]

    assert Counter(row.split for row in assign_splits(rows, {}, 0.2).rows) == {"train": 5, "test": 5}


def test_groups_that_share_a_picture_are_one():
    rows = [
        scanned(1, "a", "u"),
        scanned(2, "a", "u"),
        scanned(2, "a", "v"),
        scanned(3, "a", "v"),
        scanned(4, "a"),
        scanned(5, "a"),
    ]

    assert len({row.split for row in assign_splits(rows, {}, 0.4).rows if row.group}) == 1


def test_class_in_one_group_and_group_in_both_splits_are_named():
    rows = [scanned(number, "a", "u") for number in range(4)] + [scanned(number, "b") for number in range(4, 8)]
    (warning,) = assign_splits(rows, {}, 0.25).warnings
    assert warning == "all photos of the class 'a' are in one group ('u'): they are in train, and none is in test"

    rows = [scanned(1, "a", "u", "train"), scanned(2, "a", "u", "test"), scanned(3, "a", "v", "test")]
    (warning,) = assign_splits(rows, {}, 0.25).warnings
    assert warning == "1 group has photos in train and in test ('u'): the test may flatter the model"
