from __future__ import annotations

import getpass

import pytest

from orchard import layout
from orchard.errors import ConflictError, DataError, IntegrityError
from orchard.runs import records
from orchard.runs.records import StepRecord
from orchard.settings import Settings
from tests.faults.crashing_store import CrashingStore


def test_retried_step_finds_its_result(memory):
    assert records.recorded(memory, "run-1", "train") is None

    records.record(memory, "run-1", "train", {"accuracy": 0.97, "classes": ["Ä"]})

    assert records.recorded(memory, "run-1", "train") == {"accuracy": 0.97, "classes": ["Ä"]}
    assert records.recorded(memory, "run-1", "evaluate") is None
    assert records.recorded(memory, "run-2", "train") is None


def test_same_result_again_is_fine_and_another_is_a_conflict(memory):
    records.record(memory, "run-1", "train", {"a": 1, "b": 2})

    assert records.record(memory, "run-1", "train", {"b": 2, "a": 1}) == {"a": 1, "b": 2}
    with pytest.raises(ConflictError, match="has ended before with another result"):
        records.record(memory, "run-1", "train", {"a": 2})
    assert records.recorded(memory, "run-1", "train") == {"a": 1, "b": 2}


@pytest.mark.parametrize("fault", ["reply lost", "request lost", "retried by the client"])
def test_lost_reply_is_no_conflict(memory, fault):
    assert records.record(CrashingStore(memory, 0, fault), "run-1", "train", {"a": 1}) == {"a": 1}
    assert records.recorded(memory, "run-1", "train") == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"x",
        b'{"format":1,"result":{},"run_id":"run-1","verb":"evaluate"}',
        b'{"format":2,"result":{},"run_id":"run-1","verb":"train"}',
    ],
)
def test_invalid_result_of_a_step_is_refused(memory, body):
    memory.put(layout.run_result("run-1", "train"), body)

    with pytest.raises(IntegrityError):
        records.recorded(memory, "run-1", "train")


def test_result_must_be_json_of_a_bounded_size(memory):
    with pytest.raises(DataError):
        records.record(memory, "run-1", "train", {"a": float("nan")})
    with pytest.raises(DataError, match="at most 1048576"):
        records.record(memory, "run-1", "train", {"a": "x" * (1 << 20)})
    assert records.recorded(memory, "run-1", "train") is None


def test_actor_is_the_setting_or_the_user(monkeypatch):
    assert records.actor(Settings(actor="scheduler")) == "scheduler"
    assert records.actor(Settings()).startswith(f"{getpass.getuser()}@")
    monkeypatch.setattr(getpass, "getuser", lambda: {}["no name"])
    assert records.actor(Settings()).split("@")[0].isdigit()


def ended(outcome, **result):
    return StepRecord(outcome, "" if outcome == "done" else "why", "", "", 1.0, result, None, ())


@pytest.mark.parametrize("first", ["refused", "skipped"])
def test_a_refusal_and_a_skip_give_way_to_the_step_done_and_to_nothing_else(memory, first):
    records.end_step(memory, "run-1", "batch", ended(first, number=1))

    assert records.end_step(memory, "run-1", "batch", ended(first, number=2)).result == {"number": 1}
    assert records.end_step(memory, "run-1", "batch", ended("done", number=3)).result == {"number": 3}
    assert records.end_step(memory, "run-1", "batch", ended(first, number=4)).result == {"number": 3}
    assert records.ended_step(memory, "run-1", "batch").outcome == "done"
