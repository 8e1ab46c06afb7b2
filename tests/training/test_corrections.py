"""`orchard data relabel` and `orchard data remove`: a new version with corrected photos, all or nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from orchard.cli import main
from orchard.dataset import Dataset
from tests import photo_files
from tests.faults.crashing_store import Killed
from training.data import correction_log, dvc_tracking, shards
from training.data.ingest import shard_writer

KIWI, LEMON, *_ = photo_files.CLASSES


@pytest.fixture
def own(workspace, monkeypatch):
    """A dataset of 32 photos in several shards, without a store."""
    monkeypatch.setattr(shard_writer, "SHARD_BYTES", 30_000)
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    photo_files.fill(workspace / "farm")
    assert main(["ingest", "farm", "--no-push"]) == 0
    return workspace / "data" / "own"


@pytest.fixture
def call(capsys):
    """Run a command with --json; return the exit code and the document."""

    def run(*arguments):
        capsys.readouterr()
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out or "{}")

    return run


def labels(folder):
    return {
        row["sha256"]: row["label"]
        for batch in shards.iterate(folder, columns=["sha256", "label"], check=True)
        for row in batch.to_pylist()
    }


def photos_of(folder, label, split="train"):
    columns = ["sha256", "label"]
    rows = [row for batch in shards.iterate(folder, columns=columns, splits=[split]) for row in batch.to_pylist()]
    return [row["sha256"] for row in rows if row["label"] == label]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_shards_with_a_corrected_photo_are_written_again_and_the_same_command_changes_nothing(own, call):
    before, old = contents(own), labels(own)
    (digest, *_) = photos_of(own, KIWI)

    code, result = call("data", "relabel", digest[:8].upper(), "--label", LEMON, "--no-push")

    assert (code, result["shards_rewritten"], result["photos"]) == (0, 1, 32)
    assert [(item["sha256"], item["label"], item["new_label"]) for item in result["changed"]] == [(digest, KIWI, LEMON)]
    assert labels(own) == {**old, digest: LEMON}
    after = contents(own)
    assert len(set(after) & set(before)) == len(before) - 1 > 2
    assert all(after[name] == before[name] for name in set(after) & set(before) - {"index.json"})
    index = shards.read_index(own)
    assert [index.counts["train"][label] for label in (KIWI, LEMON)] == [5, 7]
    again = call("data", "relabel", digest[:8], "--label", LEMON, "--no-push")[1]
    assert (again["changed"], again["done_already"], again["digest"]) == ([], 1, result["digest"])
    assert contents(own) == after
    back = call("data", "relabel", digest[:8], "--label", KIWI, "--no-push")[1]
    assert labels(own) == old
    assert set(contents(own)) == set(before), "the same rows make the same shards"
    assert back["digest"] != result["digest"]


def test_removed_photos_are_gone_with_a_shard_of_nothing_else_and_removing_them_again_is_no_error(own, call):
    first = shards.read_index(own).shards[0]
    digests = shards.read_shard(own, first, ["sha256"])["sha256"].to_pylist()
    old = labels(own)

    code, result = call("data", "remove", *digests, "--no-push", "--why", "blurred")

    assert (code, result["photos"], result["shards_rewritten"]) == (0, 32 - len(digests), 1)
    assert labels(own) == {digest: label for digest, label in old.items() if digest not in digests}
    assert first not in shards.read_index(own).shards
    after = contents(own)
    assert call("data", "remove", digests[0], "--no-push")[1]["done_already"] == 1
    assert contents(own) == after
    # an ingest of the source adds them again, in a new shard with a number of its own
    assert call("ingest", "farm", "--no-push")[1]["added"] == len(digests)
    numbers = [shard.path[:4] for shard in shards.read_index(own).shards]
    assert len(set(numbers)) == len(numbers)
    assert labels(own) == old


REFUSED = {
    "no photo in data/own has the digest 01234567": ["relabel", "01234567", "--label", LEMON],
    "is not the digest of a photo": ["remove", "0123456"],
    "'Durian' is not one of the 4 classes": ["relabel", "{kiwi}", "--label", "Durian"],
    "is not a valid name of a class": ["relabel", "{kiwi}", "--label", "a\nb", "--new-class"],
    f"no photo of {KIWI} would be left": ["remove", "{all}"],
    f"no photo of {KIWI} would be left;": ["relabel", "{all}", "--label", LEMON],
    "is to be": ["relabel", "--from", "twice.csv"],
    "no column 'sha256'": ["remove", "--from", "other.csv"],
    "several photos in data/own have digests that begin with": ["remove", "aaaaaaaa"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_whatever_cannot_be_done_is_an_error_that_changes_nothing(own, call, workspace, message, monkeypatch):
    kiwis = [*photos_of(own, KIWI), *photos_of(own, KIWI, "test")]
    (workspace / "twice.csv").write_text(f"sha256,label\n{kiwis[0]},{LEMON}\n{kiwis[0][:9]},{KIWI}\n")
    (workspace / "other.csv").write_text(f"digest\n{kiwis[0]}\n")
    if "several" in message:
        forged = Path("log.json")
        monkeypatch.setattr(correction_log, "_path", lambda folder: forged.absolute())
        forged.write_text(json.dumps({"format": 1, "removed": ["a" * 64, "a" * 63 + "b"], "pending": []}))
    before = contents(own)
    arguments = [
        each for word in REFUSED[message] for each in (kiwis if word == "{all}" else [word.format(kiwi=kiwis[0])])
    ]

    for more in ([], ["--dry-run"]):
        code, result = call("data", *arguments, "--no-push", *more)
        assert (code, message in result["error"]["message"], bool(result["error"]["hint"])) == (4, True, True)
    assert contents(own) == before


def test_class_comes_with_new_class_and_goes_with_drop_class(own, call):
    (digest, *_) = photos_of(own, KIWI)

    assert call("data", "relabel", digest, "--label", " Durian ", "--new-class", "--no-push")[0] == 0
    assert "Durian" in shards.read_index(own).classes
    assert call("data", "relabel", digest, "--label", KIWI, "--no-push")[0] == 4
    assert call("data", "relabel", digest, "--label", KIWI, "--drop-class", "--no-push")[0] == 0
    assert shards.read_index(own).classes == tuple(photo_files.CLASSES)


def test_class_of_the_schema_needs_no_flag_and_another_one_has_none(own, call, workspace):
    names = ", ".join([*photo_files.CLASSES, "Durian"])
    (workspace / "data/schema.yaml").write_text(f"datasets: {{own: {{classes: [{names}]}}}}")
    (digest, *_) = photos_of(own, KIWI)

    assert call("data", "relabel", digest, "--label", "Durian", "--no-push")[0] == 0
    code, result = call("data", "relabel", digest, "--label", "Plum", "--new-class", "--no-push")
    assert (code, "schema.yaml lists the classes" in result["error"]["hint"]) == (4, True)


def test_dry_run_shows_the_same_photos_and_changes_nothing(own, call, capsys, workspace):
    digests = photos_of(own, KIWI)[:2]
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}

    planned = call("data", "remove", *digests, "--no-push", "--dry-run")[1]
    main(["data", "remove", *digests, "--no-push", "--dry-run"])
    assert "would be removed: 2" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before
    made = call("data", "remove", *digests, "--no-push")[1]
    assert [planned[name] for name in ("changed", "counts", "photos")] == [
        made[name] for name in ("changed", "counts", "photos")
    ]
    assert (planned["dry_run"], made["dry_run"]) == (True, False)


def suspect(digest, label=KIWI, suggested=LEMON):
    return {"digest": digest, "label": label, "suggested": suggested, "path": "a.jpg", "source": "farm", "score": 0.9}


def test_lists_are_csv_or_labels_json_whose_suggestions_a_person_chooses(own, call, workspace):
    one, two, three, *_ = photos_of(own, KIWI)
    document = {"format": 1, "dataset_digest": "0" * 64, "suspects": [suspect(one), suspect(two)]}
    (workspace / "labels.json").write_text(json.dumps(document))
    (workspace / "rows.csv").write_text(f"\ufeffnote, sha256, label\r\nx, {three[:10]}, {LEMON}\r\n")
    (workspace / "bare.csv").write_text(f"sha256\n{three}\n")
    relabel = ("data", "relabel", "--no-push", "--from")

    assert call(*relabel, "labels.json")[0] == 2
    assert call(*relabel, "labels.json", three)[0] == 4
    assert call(*relabel, "labels.json", one[:12])[0] == 0
    assert {labels(own)[digest] for digest in (two, three)} == {KIWI}
    assert call(*relabel, "labels.json", "--all")[1]["done_already"] == 1
    assert call(*relabel, "rows.csv", "--label", KIWI)[0] == 2
    assert call(*relabel, "rows.csv")[0] == 0
    assert [labels(own)[digest] for digest in (one, two, three)] == [LEMON] * 3
    assert call(*relabel, "bare.csv")[0] == 4
    assert call(*relabel, "bare.csv", "--label", photo_files.CLASSES[2])[0] == 0
    document["suspects"] = [suspect(three, label=LEMON, suggested=KIWI)]
    (workspace / "labels.json").write_text(json.dumps(document))
    code, result = call(*relabel, "labels.json", "--all")
    assert (code, "made for another version" in result["error"]["message"]) == (4, True)


def test_advice_of_an_ingest_with_moved_photos_corrects_the_dataset(own, call, workspace):
    moved = workspace / "farm/train" / LEMON / "moved.jpg"
    (workspace / "farm/train" / KIWI / "0_100.jpg").rename(moved)

    code, result = call("ingest", "farm", "--no-push")
    command = result["error"]["hint"].split("`")[1]
    assert (code, command) == (4, "orchard data relabel --dataset own --from artifacts/ingest/relabel.csv")
    with (workspace / "artifacts/ingest/relabel.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert call(*command.split()[1:], "--no-push")[0] == 0
    assert labels(own)[row["sha256"]] == row["label"] == LEMON
    assert call("ingest", "farm", "--no-push")[1]["present"] == 32
    assert not (workspace / "artifacts/ingest/relabel.csv").exists()


def counted(function, left):
    """The function, until `left` is used up."""

    def call(*args, **options):
        if next(left, None) is None:
            raise Killed
        return function(*args, **options)

    return call


def test_killed_at_any_point_the_dataset_is_the_old_or_the_new_one_and_the_same_command_ends_it(
    own, call, workspace, monkeypatch
):
    digests = photos_of(own, KIWI)[:3]
    command = ["data", "remove", *digests, "--no-push"]
    old, backup = labels(own), workspace / "backup"
    new = {digest: label for digest, label in old.items() if digest not in digests}
    shutil.copytree(own, backup)
    steps = [(Path, "replace"), (Path, "unlink"), (Path, "rename"), (os, "fsync"), (os, "replace")]
    seen, killed, point = set(), True, 0
    while killed:
        point += 1
        with monkeypatch.context() as patch:
            left = iter(range(point))
            for owner, name in steps:
                patch.setattr(owner, name, counted(getattr(owner, name), left))
            try:
                killed = main(command) != 0
            except Killed:
                killed = True
        assert labels(own) in (old, new)
        seen.add(labels(own) == new)
        assert call(*command)[0] == 0
        assert labels(own) == new
        assert {path.name for path in own.glob("*.parquet")} == {shard.path for shard in shards.read_index(own).shards}
        shutil.rmtree(own)
        shutil.rmtree(workspace / ".orchard")
        shutil.copytree(backup, own)
    assert point > 8
    assert seen == {True, False}


def test_versions_follow_each_other_also_after_a_kill_and_no_machine_undoes_a_correction(
    seaweed, own, call, workspace, monkeypatch
):
    assert call("ingest", "farm")[1]["version"] == 1
    other = workspace / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert call("pull")[0] == 0
    monkeypatch.chdir(workspace)
    store, digests = Dataset(seaweed, "own"), photos_of(own, KIWI)

    assert call("data", "relabel", digests[0], "--label", LEMON, "--why", "a lemon")[1]["version"] == 2
    assert store.version(2).why == "a lemon"
    for number, (owner, name) in enumerate([(dvc_tracking, "push"), (correction_log, "mark_published")], 1):
        command = ("data", "remove", digests[number], "--why", f"blurred {number}")
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *args, **options: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                main([*command])
        code, result = call(*command)
        assert (code, result["version"], result["photos"]) == (0, 2 + number, 32 - number)
        assert store.version(2 + number).why == f"blurred {number}"
        assert correction_log.read_log(own).pending == ()
    # corrections that stayed here go with the next ingest
    assert call("data", "relabel", digests[5], "--label", LEMON, "--no-push", "--why", "one")[0] == 0
    assert call("data", "relabel", digests[5], "--label", photo_files.CLASSES[2], "--no-push", "--why", "two")[0] == 0
    (workspace / "new.jpg").write_bytes(photo_files.jpeg(KIWI, 151))
    assert call("ingest", "new.jpg", "--split", "train", "--label", KIWI)[1]["version"] == 5
    assert store.current().why == "one; two"
    corrected = labels(own)
    # the other machine still has version 1: it must pull first
    monkeypatch.chdir(other)
    for command in (("ingest", "../farm"), ("data", "remove", digests[0])):
        code, result = call(*command)
        assert (code, "orchard pull" in result["error"]["hint"]) == (7, True)
    assert call("pull")[0] == 0
    assert labels(Path("data/own")) == corrected
    assert call("pull", "--version", "1")[0] == 0
    assert labels(Path("data/own"))[digests[1]] == KIWI
    assert call("data", "check")[0] == 0


def test_machine_that_has_a_removed_last_shard_does_not_bring_it_back(own, call, workspace):
    """Without its last shard, the published list is a beginning of the list of before."""
    before = shards.read_index(own)
    digests = shards.read_shard(own, before.shards[-1], ["sha256"])["sha256"].to_pylist()
    assert call("data", "remove", *digests, "--no-push")[0] == 0
    after = shards.read_index(own)
    assert after.shards == before.shards[:-1]

    elsewhere = workspace / "elsewhere" / "data" / "own"
    assert correction_log.descends(after, before.document, own)
    assert not correction_log.descends(after, before.document, elsewhere)
    assert not correction_log.descends(before, after.document, own)
    assert correction_log.descends(after, after.document, elsewhere)
