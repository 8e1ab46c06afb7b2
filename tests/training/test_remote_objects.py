"""What the store has lost of a dataset is put back by the machine that has it, and every advice leads out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchard.cli import main
from tests import photo_files
from training.data.shards import read_index

KIWI, LEMON, *_ = photo_files.CLASSES


def run(capsys, *args: str) -> tuple[int, dict]:
    code = main([*args, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def published(seaweed, workspace, monkeypatch, capsys):
    """A dataset of two versions, its store, the machine that has it, and another machine, where the test runs."""
    here, there = workspace / "here", workspace / "there"
    here.mkdir()
    there.mkdir()
    for name, label in (("first", KIWI), ("second", LEMON)):
        photo_files.fill(workspace / name, [label], train=3, test=1)
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    monkeypatch.chdir(here)
    assert run(capsys, "ingest", "../first")[0] == 0
    assert run(capsys, "ingest", "../second", "--classes", LEMON)[1]["version"] == 2
    monkeypatch.chdir(there)
    return seaweed, here, there


def objects(store):
    return {stat.key: store.get(stat.key).body for stat in store.list("dvc")}


def delete(store, key, body):
    store.delete(key)


def flip(store, key, body):
    store.put(key, bytes([body[0] ^ 1]) + body[1:])


def cut(store, key, body):
    store.put(key, body[:-1])


@pytest.mark.parametrize("harm", [delete, flip, cut])
def test_advice_for_a_lost_object_leads_out_of_the_circle(published, capsys, monkeypatch, harm):
    store, here, there = published
    before = objects(store)
    for key, body in before.items():
        harm(store, key, body)

    code, result = run(capsys, "pull")
    assert (code, "orchard data heal" in result["error"]["hint"]) == (8, True)
    assert run(capsys, "data", "check")[0] == 8
    code, result = run(capsys, "data", "heal")  # this machine has nothing but the documents
    assert code == 8
    monkeypatch.chdir(here)
    code, result = run(capsys, "data", "heal")
    assert (code, result["missing"], result["damaged"]) == (0, [], [])
    assert objects(store) == before
    assert run(capsys, "data", "check")[1]["objects"] == len(before) == 6
    monkeypatch.chdir(there)
    assert run(capsys, "pull")[0] == 0
    assert run(capsys, "pull", "--version", "1")[0] == 0


@pytest.mark.parametrize("harm", [delete, flip, cut])
def test_ingest_of_the_same_photos_puts_back_what_the_store_lost(published, capsys, monkeypatch, harm):
    store, here, there = published
    before = objects(store)
    index = read_index(here / "data/own")
    (key,) = [key for key in before if key.endswith(index.shards[0].md5[2:])]
    harm(store, key, before[key])
    monkeypatch.chdir(here)

    assert main(["ingest", "../first"]) == 0
    streams = capsys.readouterr()
    assert f"had lost {index.shards[0].path}: put back" in streams.err
    assert objects(store) == before
    monkeypatch.chdir(there)
    assert run(capsys, "pull")[0] == 0


def test_same_sources_restore_a_store_that_no_machine_has_a_copy_of(published, capsys, monkeypatch, workspace):
    store, here, there = published
    before = objects(store)
    for key, body in before.items():
        delete(store, key, body)
    shutil.rmtree(here)

    assert "--no-push" in run(capsys, "pull")[1]["error"]["hint"]
    again = workspace / "again"
    again.mkdir()
    monkeypatch.chdir(again)
    assert run(capsys, "ingest", "../first", "--no-push")[0] == 0
    assert run(capsys, "ingest", "../second", "--classes", LEMON, "--no-push")[0] == 0
    assert run(capsys, "data", "heal")[0] == 0
    assert objects(store) == before
    monkeypatch.chdir(there)
    assert run(capsys, "pull")[0] == 0


def test_heal_writes_only_the_right_bytes_and_check_writes_nothing(published, capsys, monkeypatch):
    store, here, _ = published
    before = objects(store)
    index = read_index(here / "data/own")
    (key,) = [key for key in before if key.endswith(index.shards[1].md5[2:])]
    delete(store, key, b"")
    (here / "data/own" / index.shards[1].path).write_bytes(b"damaged here too")
    shutil.rmtree(here / ".dvc/cache")
    monkeypatch.chdir(here)
    left = objects(store)

    for verb in ("check", "heal"):
        code, result = run(capsys, "data", verb)
        assert (code, index.shards[1].path in result["error"]["message"]) == (8, True)
        assert objects(store) == left
    assert run(capsys, "data", "heal", "--version", "1")[0] == 0


def test_advice_for_a_damaged_folder_that_was_never_pushed_is_not_to_pull_it_only(workspace, capsys):
    photo_files.fill(workspace / "first", [KIWI], train=3, test=1)
    assert run(capsys, "ingest", "first", "--dataset", "own", "--no-push")[0] == 0
    (path,) = Path("data/own").glob("*.parquet")
    path.write_bytes(b"damaged")

    code, result = run(capsys, "ingest", "first", "--dataset", "own", "--no-push")
    assert (code, "never pushed, delete its folder" in result["error"]["hint"]) == (8, True)
    shutil.rmtree("data/own")
    assert run(capsys, "ingest", "first", "--dataset", "own", "--no-push")[0] == 0
