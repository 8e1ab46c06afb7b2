"""Sixteen programs at once on the real store: where only one may win, exactly one does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from orchard.dataset import Dataset
from orchard.errors import ConflictError
from orchard.registry.channels import ChangeIntent, ChannelChange
from tests.faults.invariants import InvariantWitness
from tests.orchard.version_fixtures import MODEL, facts, registry_of, saved_model

RACERS = 16


def race(work, racers=RACERS):
    """Run `work(number)` in threads that start together; returns results and ConflictErrors."""
    start = Barrier(racers)

    def racer(number):
        start.wait(30)
        try:
            return work(number)
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(racer, range(racers)))


@pytest.fixture
def witness(seaweed):
    return InvariantWitness(seaweed)


def test_sixteen_publishers_each_get_their_own_number(seaweed, witness, tmp_path):
    folders = [saved_model(tmp_path / str(number), number) for number in range(RACERS)]

    results = race(lambda number: registry_of(seaweed).publish(folders[number], facts()))

    assert sorted(item.version for item in results) == list(range(1, RACERS + 1))
    assert all(item.created for item in results)
    witness.published = {item.publish_id: item.version for item in results}
    witness.check()
    witness.claims()


def test_sixteen_publishers_of_the_same_bytes_make_one_version(seaweed, witness, tmp_path):
    registry_of(seaweed).publish(saved_model(tmp_path / "before", "before"), facts())
    folder = saved_model(tmp_path / "same", "same")

    results = race(lambda number: registry_of(seaweed).publish(folder, facts()))

    assert {item.version for item in results} == {2}
    assert sum(item.created for item in results) == 1
    witness.check()
    witness.claims()


def test_sixteen_promoters_change_a_channel_one_after_the_other(seaweed, witness, tmp_path):
    for number in (1, 2, 3):
        registry_of(seaweed).publish(saved_model(tmp_path / str(number), number), facts())
    registry_of(seaweed).channel("stable").promote(3, ChangeIntent("anna", "first"))

    def promote(number):
        return registry_of(seaweed).channel("stable").promote(1 + number % 2, ChangeIntent(f"p{number}", "race"))

    results = race(promote)

    changed = [item.pointer for item in results if isinstance(item, ChannelChange) and item.changed]
    entries = registry_of(seaweed).channel("stable").history()
    assert sorted(item.generation for item in changed) == list(range(2, len(entries) + 1))
    witness.changes = changed
    witness.check()


def test_eight_ingests_lose_no_update(seaweed, witness):
    def commit(number):
        while True:
            current = Dataset(seaweed, MODEL).current()
            parent = current.version if current else None
            photos = [*(current.index["photos"] if current else []), number]
            try:
                return Dataset(seaweed, MODEL).commit({"photos": photos}, "dvc", parent=parent, created_by=f"i{number}")
            except ConflictError:
                continue

    results = race(commit, 8)

    assert sorted(item.version.version for item in results) == list(range(1, 9))
    assert sorted(Dataset(seaweed, MODEL).current().index["photos"]) == list(range(8))
    witness.commits = {item.version.version: item.version.digest for item in results}
    witness.check()


def test_store_proves_its_conditional_writes_to_many_at_once(seaweed):
    from orchard.store import probe

    assert race(lambda number: probe.check_conditional_writes(seaweed, MODEL, f"{number % 4:08x}")) == [None] * RACERS
