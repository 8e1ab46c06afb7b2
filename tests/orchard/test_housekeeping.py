"""What goes by itself after a while, and what never does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from orchard import layout
from orchard.cli import main
from orchard.documents import FORMAT, canonical_json, encode
from orchard.errors import ConflictError
from orchard.housekeeping import ExpiredObjects, RetentionPolicy, sweep
from orchard.registry.leases import PruneMarker
from orchard.runs import records
from orchard.runs.records import Run, StepRecord
from orchard.settings import Settings
from orchard.signing import create_pair
from orchard.store import open_store
from tests.faults.crashing_store import CrashingStore, Killed
from tests.orchard.version_fixtures import BECAUSE, MODEL, TRUSTED, facts, registry_of, saved_model

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=40)
LOGS = tuple(
    f"logs/dag_id=retrain/run_id=manual__2026-11-24T20:00:00+00:00/task_id=train/attempt={number}.log"
    for number in (1, 2)
)


@pytest.fixture
def grown(memory, tmp_path):
    """Four versions of which one is live, a run of today with files and a page, captures of two days, logs of two tries."""
    for number in range(1, 5):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    registry_of(memory).channel("stable").promote(2, BECAUSE)
    records.begin(memory, Run(FORMAT, "r1", "retrain", None, MODEL, "stable", None, NOW.isoformat(), "anna"))
    records.end_step(memory, "r1", "validate", StepRecord("done", "", "", "", 1.0, {}, None, ()))
    memory.put(layout.run_file("r1", "train", "0" * 64), b"x" * 100)
    memory.put(layout.run_checkpoint("r1"), b"x" * 10)
    memory.put(layout.run_page("r1", "evaluate"), b"page")
    memory.put("runs/unknown/files/what.tar", b"x")
    for day in (NOW, NOW + timedelta(days=30)):
        memory.put(f"{layout.captures(MODEL)}/{day.date().isoformat()}/part-1.jsonl", b"{}")
    for key in LOGS:
        memory.put(key, b"loss 0.1\n")
    memory.put("logs/notes.txt", b"somebody's")
    return memory


def keys(store):
    return {stat.key for stat in store.list("")}


def swept(store, now, *, delete=True, **kept):
    return sweep(registry_of(store), RetentionPolicy(**kept), now, delete=delete)


def test_young_things_stay(grown):
    before = keys(grown)
    done = swept(grown, NOW + timedelta(days=1))

    assert (done.pruned.blobs, done.files.objects, done.pages.objects, done.captures.objects) == (0, 0, 0, 0)
    assert done.logs.objects == 0
    assert keys(grown) <= before
    assert {key for key in before - keys(grown) if "/holds/" not in key} == set()


def test_old_files_and_captures_are_deleted_and_served_versions_and_records_are_kept(grown):
    before = keys(grown)
    result = swept(grown, LATER, delete=False, versions=1)
    assert keys(grown) == before

    done = swept(grown, LATER, versions=1, served=frozenset({3}))
    assert (result.files, result.captures) == (done.files, done.captures)
    assert (done.files.objects, done.files.bytes, done.pages.objects, done.captures.objects) == (2, 110, 0, 1)
    assert sorted(done.pruned.kept) == [2, 3, 4]
    gone = before - keys(grown)
    assert {key for key in gone if key.startswith(("runs/", "capture/"))} == {
        layout.run_file("r1", "train", "0" * 64),
        layout.run_checkpoint("r1"),
        f"{layout.captures(MODEL)}/{NOW.date().isoformat()}/part-1.jsonl",
    }
    registry_of(grown).verify(registry_of(grown).manifest(2))
    assert swept(grown, NOW + timedelta(days=200)).pages.objects == 1
    assert grown.exists(layout.run_step("r1", "validate"))
    assert grown.exists(layout.run("r1"))


def test_logs_of_tasks_go_after_their_days_and_what_else_lies_there_stays(grown):
    before = keys(grown)
    later = NOW + timedelta(days=91)

    result = swept(grown, later, delete=False)
    assert keys(grown) == before
    assert swept(grown, NOW + timedelta(days=89)).logs.objects == 0
    done = swept(grown, later)

    assert result.logs == done.logs == ExpiredObjects(2, 18)
    assert {key for key in before - keys(grown) if key.startswith("logs/")} == set(LOGS)
    assert swept(grown, LATER, logs=39).logs.objects == 0, "they are gone"


def test_more_logs_than_go_at_one_time_go_one_time_after_the_other(grown, monkeypatch):
    monkeypatch.setattr("orchard.housekeeping.MAX_LOGS", 1)

    assert [swept(grown, LATER, logs=39).logs.objects for _ in range(3)] == [1, 1, 0]


def test_a_killed_prune_is_resumed_once_its_marker_is_old_and_not_before(grown):
    manifest = registry_of(grown).manifest(1)
    mark = PruneMarker(FORMAT, MODEL, 1, tuple(sorted(file.sha256 for file in manifest.files)))
    grown.put(layout.prune_marker(MODEL), canonical_json(encode(mark)))

    with pytest.raises(ConflictError, match="another prune"):
        swept(grown, datetime.now(UTC), versions=1)
    done = swept(grown, datetime.now(UTC) + timedelta(hours=2), versions=1)
    assert done.pruned.deleted
    registry_of(grown).verify(registry_of(grown).manifest(2))


def copy_of(store):
    """Another store in memory with the same objects."""
    copy = open_store(Settings(store_url="memory://"))
    for stat in store.list(""):
        copy.put(stat.key, store.get(stat.key).body)
    return copy


def test_killed_at_any_deletion_the_next_one_does_the_rest(grown):
    calm = CrashingStore(copy_of(grown))
    sweep(registry_of(calm), RetentionPolicy(), LATER, delete=True)
    deletions = [number for number, call in enumerate(calm.calls) if call.startswith("delete ")]
    assert len(deletions) == 4, "the prune's marker, two files and a capture"
    for number in deletions:
        crashing = CrashingStore(copy_of(grown), number, "killed after")
        with pytest.raises(Killed):
            sweep(registry_of(crashing), RetentionPolicy(), LATER, delete=True)

        swept(crashing.inner, LATER)
        assert keys(crashing.inner) == keys(calm.inner)


def test_the_verb_says_what_would_go_and_deletes_only_when_it_may(grown, tmp_path, monkeypatch, capsys):
    pair = create_pair(tmp_path / "keys")
    monkeypatch.setenv("ORCHARD_STORE_URL", "memory://")
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    monkeypatch.setattr("orchard.registry.registry.open_store", lambda settings: grown)
    monkeypatch.setattr("orchard.registry.registry.load_trusted", lambda path: TRUSTED)
    before = keys(grown)

    assert main(["housekeeping", "--dry-run", "--json", "--keep", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["dry_run"], result["versions"]["objects"], result["versions"]["kept"]) == (True, 2, [2, 4])
    assert result["logs"] == {"objects": 0, "bytes": 0}
    assert keys(grown) == before
    assert main(["housekeeping", "--keep", "1"]) == 0
    assert "2 objects were deleted" in capsys.readouterr().out
    assert len([key for key in before - keys(grown) if "/blobs/" in key]) == 2


def test_the_verb_keeps_logs_for_the_given_days(grown, tmp_path, monkeypatch, capsys):
    from orchard.housekeeping import sweep as real

    monkeypatch.setenv("ORCHARD_STORE_URL", "memory://")
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(create_pair(tmp_path / "keys").public))
    monkeypatch.setattr("orchard.registry.registry.open_store", lambda settings: grown)
    monkeypatch.setattr("orchard.registry.registry.load_trusted", lambda path: TRUSTED)
    monkeypatch.setattr("orchard.housekeeping.sweep", lambda *args, **kwargs: real(*args[:-1], LATER, **kwargs))

    assert main(["housekeeping", "--logs-days", "40", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logs"]["objects"] == 0
    assert main(["housekeeping", "--logs-days", "39", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logs"] == {"objects": 2, "bytes": 18}
    assert main(["housekeeping", "--logs-days", "39"]) == 0
    assert "logs of tasks" in capsys.readouterr().out
    assert not any(grown.exists(key) for key in LOGS)
    assert main(["housekeeping", "--logs-days", "0"]) == 2
