"""Publish, promote, rollback and dataset commit with a fault at every store call; then run again."""

from __future__ import annotations

from functools import cache

import pytest
from obstore.store import MemoryStore

from orchard.dataset import Dataset
from orchard.errors import ConflictError, StoreUnavailable
from orchard.registry.channels import ChangeIntent
from orchard.store import ObjectStore
from tests.faults.crashing_store import FAULTS, CrashingStore, Killed
from tests.faults.invariants import InvariantWitness
from tests.orchard.version_fixtures import BECAUSE, MODEL, facts, registry_of, saved_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tuple(saved_model(tmp_path_factory.mktemp("model"), content) for content in range(4))


def empty(folders):
    return ObjectStore(MemoryStore(), "memory://")


@cache
def _built(folders, channel):
    store = empty(folders)
    for number in (1, 2):
        registry_of(store).publish(folders[number], facts())
        registry_of(store).channel(channel).promote(number, BECAUSE)
    Dataset(store, MODEL).commit({"photos": 1}, "dvc 1", parent=None, created_by="anna")
    return store


def world(folders, channel="stable"):
    """Two versions, `stable` (or another channel) at 2 after 1, one dataset version."""
    store = empty(folders)
    for stat in _built(folders, channel).list(""):
        store.put(stat.key, _built(folders, channel).get(stat.key).body)
    return store


def publish(store, folders):
    return registry_of(store).publish(folders[3], facts())


def promote(store, folders):
    return registry_of(store).channel("stable").promote(1, ChangeIntent("bert", "older is better"))


def promote_first(store, folders):
    return registry_of(store).channel("canary").promote(2, ChangeIntent("bert", "try it"))


def rollback(store, folders):
    return registry_of(store).channel("stable").rollback(ChangeIntent("bert", "it confuses plums and apples"))


def commit(store, folders):
    return Dataset(store, MODEL).commit({"photos": 2}, "dvc 2", parent=1, created_by="bert")


def first_commit(store, folders):
    return Dataset(store, MODEL).commit({"photos": 2}, "dvc 2", parent=None, created_by="bert")


def publish_another(store, folders):
    registry_of(store).publish(folders[0], facts())


def promote_another(store, folders):
    registry_of(store).channel("shadow").promote(1, ChangeIntent("carl", "something else"))


def nothing(store, folders):
    return None


ACTIONS = [
    (world, publish, nothing, {"versions": 3}),
    (world, publish, publish_another, {"versions": 4}),
    (world, promote, nothing, {"stable": [1, 2, 1]}),
    (world, promote_first, promote_another, {"canary": [2], "shadow": [1]}),
    (world, rollback, nothing, {"stable": [1, 2, 1]}),
    (world, commit, nothing, {"dataset": 2}),
    (empty, publish, nothing, {"versions": 1}),
    (empty, first_commit, publish_another, {"dataset": 1, "versions": 1}),
]


def outcome(store):
    current = Dataset(store, MODEL).current()
    result = {"versions": len(registry_of(store).versions()), "dataset": current.version if current else 0}
    for channel in ("stable", "canary", "shadow"):
        result[channel] = [entry.version for entry in registry_of(store).channel(channel).history()]
    return result


def calls_of(action, folders, start=world):
    store = CrashingStore(start(folders))
    action(store, folders)
    return store.calls


def change_everything(store):
    """After any fault, the next change of each kind succeeds."""
    newest = registry_of(store).versions()[-1]
    for channel in ("stable", "canary", "shadow"):
        pointer = registry_of(store).channel(channel).read()
        version = 1 if pointer and pointer.version == newest else newest
        registry_of(store).channel(channel).promote(version, ChangeIntent("dora", "another change"))
    current = Dataset(store, MODEL).current()
    parent = current.version if current else None
    Dataset(store, MODEL).commit({"photos": 100}, "dvc", parent=parent, created_by="dora")


def survive(folders, start, action, meanwhile, expected, fault):
    """Let `action` fail at each of its store calls in turn, then run it twice again; the invariants always hold."""
    points = len(calls_of(action, folders, start))
    assert points >= 3
    for at in range(points):
        store = start(folders)
        witness = InvariantWitness(store)
        failure = None
        try:
            action(CrashingStore(store, at, fault), folders)
        except (Killed, StoreUnavailable) as error:
            failure = error
        assert isinstance(failure, Killed) == fault.startswith("killed")
        witness.check()  # readers see this state
        meanwhile(store, folders)
        witness.check()

        action(store, folders)
        action(store, folders)

        witness.check()
        witness.claims()
        result = outcome(store)
        assert result == {**result, **expected}, f"{fault} at call {at}"
        if result["versions"]:
            change_everything(store)
            witness.check()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("start", "action", "meanwhile", "expected"), ACTIONS, ids=lambda value: getattr(value, "__name__", "")
)
def test_every_action_survives_a_fault_at_every_call(folders, start, action, meanwhile, expected, fault):
    survive(folders, start, action, meanwhile, expected, fault)


@pytest.mark.parametrize("fault", ["reply lost", "retried by the client"])
@pytest.mark.parametrize("action", [publish, promote, promote_first, rollback, commit])
def test_lost_reply_of_a_commit_is_recognised_as_success(folders, action, fault):
    calls = calls_of(action, folders)
    commits = [at for at, call in enumerate(calls) if call.startswith(("create", "swap")) and "/probes/" not in call]
    assert len(commits) >= 2
    for at in commits:
        result = action(CrashingStore(world(folders), at, fault), folders)

        assert getattr(result, "changed", True) is True
        assert getattr(result, "created", True) is True


def test_publisher_killed_before_its_commit_gets_a_later_number(folders):
    store = world(folders)
    at = next(n for n, call in enumerate(calls_of(publish, folders)) if "/versions/000000000003/" in call)
    with pytest.raises(Killed):
        publish(CrashingStore(store, at), folders)
    publish_another(store, folders)

    published = publish(store, folders)

    assert (published.version, published.created) == (4, True)


def test_writer_killed_between_dataset_version_and_pointer_blocks_no_other(folders):
    store = world(folders)
    at = next(n for n, call in enumerate(calls_of(commit, folders)) if call.startswith("swap"))
    with pytest.raises(Killed):
        commit(CrashingStore(store, at), folders)
    assert Dataset(store, MODEL).current().version == 1

    with pytest.raises(ConflictError, match="version 2 is current"):
        Dataset(store, MODEL).commit({"photos": 9}, "dvc 9", parent=1, created_by="carl")

    assert Dataset(store, MODEL).current().index == {"photos": 2}
    committed = Dataset(store, MODEL).commit({"photos": 9}, "dvc 9", parent=2, created_by="carl")
    assert (committed.version.version, committed.created) == (3, True)


def test_promoter_killed_before_the_history_entry_loses_no_entry(folders):
    store = world(folders)
    at = next(n for n, call in enumerate(calls_of(promote, folders)) if "history/000000000003" in call)
    with pytest.raises(Killed):
        promote(CrashingStore(store, at), folders)
    assert [entry.who for entry in registry_of(store).channel("stable").history()][-1] == "bert"

    registry_of(store).channel("stable").promote(2, ChangeIntent("carl", "no, newer"))

    assert store.exists(f"models/{MODEL}/history/000000000003-stable-promote.json")
    assert [entry.who for entry in registry_of(store).channel("stable").history()][-2:] == ["bert", "carl"]
