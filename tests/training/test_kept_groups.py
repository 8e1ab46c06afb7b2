"""Groups of a label file are kept in the shards: later photos of a group, folds and validation never divide it."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.cli import main
from tests import photo_files
from tests.training.test_test_share import PHOTOS, scanned
from training.data import shards
from training.data.ingest.test_share import assign_splits
from training.data.photo_rows import read_rows
from training.model.in_memory import read_photos
from training.model.validation_photos import choose_validation_photos
from training.params import load

ROOT = Path(__file__).resolve().parents[2]
KIWI, LEMON, *_ = photo_files.CLASSES
VISITS = {f"visit {number}": range(10 * number, 10 * number + 4) for number in range(6)}


def write(folder, visits, column="group"):
    """Draw photos of two classes for each visit, with a label file; ``visits``: name → numbers of photos."""
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", column])
        for name, numbers in visits.items():
            for label in (KIWI, LEMON):
                for number in numbers:
                    path = folder / f"{label} {number}.jpg"
                    path.write_bytes(photo_files.jpeg(label, number))
                    table.writerow([path.name, label, name])
    return folder


@pytest.fixture
def call(workspace, monkeypatch, capsys):
    """Run a command with --json and --no-push; return the document."""
    monkeypatch.setenv("ORCHARD_DATASET", "own")

    def run(*arguments):
        assert main([*map(str, arguments), "--json", "--no-push"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def ingest(call, folder):
    return call("ingest", folder, "--labels", folder / "labels.csv", "--test-share", "0.3")


def splits_of_groups(workspace):
    folder = workspace / "data" / "own"
    found = defaultdict(set)
    for split in shards.SPLITS:
        for row in read_rows(folder, split):
            found[row.group].add(split)
    return found


def test_later_photos_of_a_group_join_its_split_without_those_of_before(workspace, call):
    ingest(call, write(workspace / "first", VISITS))
    before = splits_of_groups(workspace)
    later = {name: range(10 * number + 4, 10 * number + 7) for number, name in enumerate(VISITS)}

    result = ingest(call, write(workspace / "second", later))

    assert set(before) == set(VISITS)
    assert {*map(tuple, before.values())} == {("train",), ("test",)}
    assert splits_of_groups(workspace) == before
    assert (result["added"], result["warnings"]) == (36, [])


def test_relabelled_and_removed_photos_leave_the_groups_of_a_shard(workspace, call):
    ingest(call, write(workspace / "first", VISITS))
    before = splits_of_groups(workspace)
    rows = read_rows(workspace / "data" / "own", "train")
    kiwi, other = (next(row for row in rows if row.label == label) for label in (KIWI, LEMON))

    call("data", "relabel", kiwi.digest, "--label", LEMON)
    call("data", "remove", other.digest)

    assert splits_of_groups(workspace) == before
    left = {row.digest: row for row in read_rows(workspace / "data" / "own", "train")}
    assert (left[kiwi.digest].label, left[kiwi.digest].group) == (LEMON, kiwi.group)
    (shard,) = shards.read_index(workspace / "data" / "own").shards
    assert other.digest not in shards.read_groups(workspace / "data" / "own", shard)


def test_shards_without_groups_are_those_of_before_and_later_groups_are_joined_to_them(workspace, call):
    ingest(call, write(workspace / "first", VISITS, column="remark"))
    folder = workspace / "data" / "own"
    (shard,) = shards.read_index(folder).shards
    with shards.pq.ParquetFile(folder / shard.path) as file:
        assert set(file.schema_arrow.metadata) == {b"huggingface"}

    ingest(call, write(workspace / "second", {"visit 9": range(90, 94)}))

    groups = [row.group for split in shards.SPLITS for row in read_rows(folder, split)]
    assert (groups.count(""), groups.count("visit 9")) == (48, 8)
    assert len(splits_of_groups(workspace)["visit 9"]) == 1


def test_group_of_the_dataset_in_the_other_split_is_named(workspace, call):
    ingest(call, write(workspace / "first", VISITS))
    (split,) = splits_of_groups(workspace)["visit 2"]
    folder = write(workspace / "second", {"visit 2": [24, 25]})
    text = (folder / "labels.csv").read_text().replace(",visit 2", f",visit 2,{({*shards.SPLITS} - {split}).pop()}")
    (folder / "labels.csv").write_text(text.replace("label,group", "label,group,split"))

    (warning,) = call("ingest", folder, "--labels", folder / "labels.csv")["warnings"]

    assert warning.startswith("1 group has photos in train and in test ('visit 2')")


def test_training_validates_on_whole_groups(workspace, call):
    ingest(call, write(workspace / "first", VISITS))
    folder = workspace / "data" / "own"
    index = shards.read_index(folder)
    photos = read_photos(folder, index, "train", 8)

    chosen = choose_validation_photos(photos, index, load(ROOT / "params.yaml"), folder, reporter=None)

    sides = defaultdict(set)
    for group, side in zip(photos.groups, chosen.tolist(), strict=True):
        sides[group].add(side)
    assert {*map(tuple, sides.values())} == {(True,), (False,)}


@settings(max_examples=60, deadline=None)
@given(first=PHOTOS, later=PHOTOS, share=st.sampled_from([0.1, 0.25, 0.5]))
def test_a_known_group_is_never_divided(first, later, share):
    kept = defaultdict(set)
    for row in assign_splits([scanned(*photo) for photo in first], {}, share).rows:
        kept[row.group].add(row.split)
    rows = [scanned(f"later {number}", label, group) for number, label, group in later]

    found = assign_splits(rows, {}, share, kept)

    for row in found.rows:
        if row.group in kept and row.group:
            assert {row.split} == kept[row.group]
