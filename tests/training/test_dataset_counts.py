"""`orchard data stats`: photos by class, split and source, over the versions."""

from __future__ import annotations

import json
import shutil

from orchard.cli import main
from orchard.dataset import Dataset
from tests import photo_files
from training.data.dataset_counts import count_versions
from training.data.shards import Index, read_index

KIWI, LEMON, *_ = photo_files.CLASSES


def commit(store, index, why=None):
    parent = Dataset(store, "own").current()
    number = parent.version if parent else None
    return Dataset(store, "own").commit(index.document, "", parent=number, created_by="me", why=why).version


def test_versions_classes_splits_and_sources_are_counted(workspace, memory_of_verbs, monkeypatch, capsys):
    monkeypatch.setenv("ORCHARD_DATASET", "own")
    photo_files.fill(workspace / "farm", [KIWI, LEMON], train=3, test=1)
    photo_files.fill(workspace / "shop", [KIWI], train=2, test=0, side=140)
    assert main(["ingest", "farm", "--no-push"]) == 0
    folder = workspace / "data" / "own"
    commit(memory_of_verbs, read_index(folder))
    assert main(["ingest", "shop", "--no-push"]) == 0
    commit(memory_of_verbs, read_index(folder), why="more kiwis")
    capsys.readouterr()

    assert main(["data", "stats"]) == 0
    text = capsys.readouterr().out
    assert main(["data", "stats", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["versions"]

    assert (first["photos"], second["photos"], second["why"]) == (8, 10, "more kiwis")
    assert second["sources"]["train"] == {KIWI: {"farm": 3, "shop": 2}, LEMON: {"farm": 3}}
    assert second["counts"]["test"] == {KIWI: 1, LEMON: 1}
    rows = [line.split() for line in text.splitlines()]
    assert [row[2:9] for row in rows[1:3]] == [["8", "6", "2", "2", "8", "0"], ["10", "+2", "8", "2", "2", "8", "2"]]
    assert [*KIWI.split(), "6", "+2", "3", "2", "1", "0"] in rows
    # without the shards, only the sources are unknown
    shutil.rmtree(folder)
    assert main(["data", "stats", "--version", "1"]) == 0
    assert "are not on this machine" in capsys.readouterr().out
    assert main(["data", "stats", "--version", "9"]) == 4


def test_version_without_shards_has_no_sources(workspace, memory_of_verbs):
    empty = Index(1, "own", (KIWI,), (), {"train": {KIWI: 0}, "test": {KIWI: 0}})
    (counts,) = count_versions([commit(memory_of_verbs, empty)], workspace / "data" / "own")
    assert (counts.count(), counts.sources) == (0, {})
