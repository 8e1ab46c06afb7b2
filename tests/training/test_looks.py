"""Looks at the test photos are counted by model: none is lost, and the same model again is no new one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchard.cli import main
from tests.training.candidates import write_workspace
from training.data.shards import read_index
from training.evaluation import looks
from training.evaluation.looks import count_known, describe_looks, look_sentence, record_look

DATASET = "d" * 64


def look(folder: Path, name: str, dataset: str = DATASET) -> int:
    """Record a look; returns its number."""
    return next(item.number for item in record_look(folder, dataset, name, "p" * 64) if item.candidate == name)


def test_same_candidate_again_is_no_new_look_and_another_is(tmp_path: Path):
    assert [look(tmp_path, name) for name in ("a", "b", "a", "c", "b")] == [1, 2, 1, 3, 2]
    assert look(tmp_path, "c", "e" * 64) == 1, "other test photos"

    found = describe_looks(record_look(tmp_path, DATASET, "b", "p" * 64), "b")
    assert (found["number"], found["total"]) == (2, 3)
    assert [item["candidate"] for item in found["models"]] == ["a", "b", "c"]
    assert all(item["when"] and item["params_digest"] == "p" * 64 for item in found["models"])


def test_simultaneous_looks_lose_nothing(tmp_path: Path):
    names = [f"candidate {n % 12}" for n in range(36)]  # each of twelve, three times

    with ThreadPoolExecutor(12) as pool:
        numbers = list(pool.map(lambda name: look(tmp_path, name), names))

    assert sorted(set(numbers)) == list(range(1, 13))
    assert len({*zip(names, numbers, strict=True)}) == 12, "one number each"


@pytest.mark.parametrize("written", [0, 10, 10_000])
def test_an_interrupted_look_loses_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int):
    assert look(tmp_path, "a") == 1

    def die(path: Path, body: bytes) -> None:
        path.write_bytes(body[:written])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(looks, "_write", die)
        with pytest.raises(KeyboardInterrupt):
            look(tmp_path, "b")

    assert [look(tmp_path, name) for name in ("a", "b", "c")] == [1, 2, 3]
    assert [path.name for path in sorted((tmp_path / DATASET).iterdir())] == ["000001", "000002", "000003"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_record_counts_as_a_look_of_an_unknown_model(tmp_path: Path, body: bytes):
    assert look(tmp_path, "a") == 1
    (tmp_path / DATASET / "000002").mkdir()
    (tmp_path / DATASET / "000002" / "look.json").write_bytes(body)

    assert look(tmp_path, "b") == 3


def test_what_many_looks_mean_is_said_only_where_there_are_many():
    one = {"number": 1, "total": 1, "models": [{"candidate": "a"}]}
    many = {"number": 2, "total": 3, "models": [{"candidate": name} for name in "abc"]}

    assert look_sentence(one) == "the 1st model looked at these test photos"
    assert look_sentence(many).startswith("the 2nd model looked at these test photos; 3 have by now. Who chooses")
    assert count_known(one, ["a", "x", "y"]) == 3
    assert "with the versions of the registry 3 are known to have looked. Who" in look_sentence(one, 3)
    assert [looks._ordinal(n) for n in (3, 4, 11, 12, 13, 21, 22, 103, 111)] == (
        ["3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "103rd", "111th"]
    )


def test_an_evaluation_says_which_look_it_was(workspace: Path, capsys: pytest.CaptureFixture[str]):
    made = write_workspace(workspace)
    digest = read_index(made.dataset("fruits")).digest
    look(made.looks, "an earlier candidate", digest)

    assert main(["evaluate"]) == 0

    printed = capsys.readouterr().out
    assert "The 2nd model looked at these test photos. Who chooses among models" in printed
    document = json.loads((made.evaluation / "evaluation.json").read_text())
    assert (document["looks"]["number"], document["looks"]["total"]) == (2, 2)
    assert "The 2nd model looked at these test photos" in (made.evaluation / "page.html").read_text()
    assert len(list(made.looks.rglob("*.json"))) == 2
