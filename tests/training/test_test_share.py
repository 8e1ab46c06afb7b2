"""Photos whose folders name no split: which of them test the model."""

from __future__ import annotations

import json
import shutil
import tarfile

import pytest

from orchard.cli import main
from tests import photo_files
from training.data import shards


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
