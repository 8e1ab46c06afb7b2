"""The summary of runs: how far they got, the verdict of the gate, why they ended."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchard import layout
from orchard.cli import main
from orchard.cli import runs as verb_module
from orchard.errors import ConflictError, DataError, IntegrityError
from orchard.runs import records
from orchard.runs.records import PinnedDataset, Run, StepRecord
from orchard.runs.summary import read_entries
from tests.faults.crashing_store import CrashingStore

RUN = Run(
    1,
    "r1",
    "retrain",
    PinnedDataset("fruits", 3, "d" * 64),
    "fruits",
    "stable",
    None,
    "2026-11-24T10:00:00+00:00",
    "anna",
)
DONE = StepRecord("done", "", "2026-11-24T10:00:01+00:00", "2026-11-24T10:00:05+00:00", 3.25, {}, None, ())


@pytest.fixture
def journal(memory_of_verbs):
    """Four runs, of every kind of end."""
    memory = memory_of_verbs
    records.begin(memory, RUN)
    for name in ("validate", "train", "evaluate"):
        records.end_step(memory, "r1", name, DONE)
    refused = replace(DONE, outcome="refused", reason="2 checks failed", result={"verdict": "refused"})
    records.end_step(memory, "r1", "gate", refused)
    records.begin(memory, replace(RUN, run_id="r2", started="2026-11-24T11:00:00+00:00"))
    memory.put(
        layout.run_failure("r2", "validate"),
        b'{"exit_code":4,"format":1,"message":"rules are broken","run_id":"r2","verb":"validate","when":"2026-11-24T11:00:09+00:00"}',
    )
    day = replace(RUN, run_id="r3", kind="batch", dataset=None, day="2026-11-24", started="2026-11-24T12:00:00+00:00")
    records.begin(memory, day)
    records.end_step(memory, "r3", "batch", replace(DONE, result={"version": 7}))
    records.begin(memory, replace(RUN, run_id="r4", started="2026-11-24T13:00:00+00:00"))
    return memory


def test_the_newest_runs_stand_first_and_say_how_far_they_got(journal):
    found = read_entries(journal, 10)

    assert [entry.run.run_id for entry in found] == ["r4", "r3", "r2", "r1"]
    assert [entry.state for entry in found] == ["at validate", "done", "failed at validate", "refused at gate"]
    assert [entry.reason for entry in found] == ["", "", "rules are broken", "2 checks failed"]
    assert [entry.verdict for entry in found] == ["", "", "", "refused"]
    assert [entry.version for entry in found] == [None, 7, None, None]
    assert found[3].seconds == 13.0
    assert [entry.run.run_id for entry in read_entries(journal, 1)] == ["r4"]
    assert [entry.run.run_id for entry in read_entries(journal, 9, kind="batch")] == ["r3"]
    assert read_entries(journal, 1, "r1")[0].state == "refused at gate"
    with pytest.raises(DataError, match="has no run r9"):
        read_entries(journal, 1, "r9")


def test_the_verb_prints_a_table_and_the_steps_of_one(journal, capsys):
    assert verb_module.__doc__

    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "kind", "began", "about", "state", "gate", "version", "verbs"]
    assert [line.split()[0] for line in lines[1:]] == ["r4", "r3", "r2", "r1"]
    assert main(["runs", "r2"]) == 0
    assert "rules are broken" in capsys.readouterr().out
    assert main(["runs", "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["dataset"] == {
        "name": "fruits",
        "version": 3,
        "digest": "d" * 64,
    }


def test_what_a_run_is_about_is_fixed_once(memory):
    first = records.begin(memory, RUN)
    again = records.begin(
        memory, replace(RUN, dataset=PinnedDataset("fruits", 9, "e" * 64), started="later", by="bert")
    )

    assert (first, again) == (RUN, RUN)
    with pytest.raises(ConflictError, match="another kind: retrain"):
        records.begin(memory, replace(RUN, kind="batch", day="2026-11-24"))
    memory.put(layout.run("r5"), memory.get(layout.run("r1")).body)
    with pytest.raises(IntegrityError, match="is the record of the run r1"):
        records.read(memory, "r5")


@pytest.mark.parametrize("fault", ["reply lost", "request lost", "retried by the client"])
def test_of_two_ends_of_a_step_the_first_counts_whatever_happens_to_its_reply(memory, fault):
    assert records.end_step(CrashingStore(memory, 0, fault), "r1", "train", DONE) == DONE
    assert records.end_step(memory, "r1", "train", replace(DONE, seconds=99.0)) == DONE
    assert records.ended_step(memory, "r1", "train") == DONE


def test_only_a_refusal_gives_way_and_only_to_an_acceptance(memory):
    refused = replace(DONE, outcome="refused", reason="no")
    records.end_step(memory, "r1", "gate", refused)

    assert records.end_step(memory, "r1", "gate", replace(refused, reason="still no")) == refused
    assert records.end_step(memory, "r1", "gate", DONE) == DONE
    assert records.end_step(memory, "r1", "gate", refused) == DONE
    assert records.ended_step(memory, "r1", "gate") == DONE
