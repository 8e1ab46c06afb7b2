"""Two programs at once, in every order of their store calls with up to two changes of turn."""

from __future__ import annotations

import pytest

from orchard.dataset import CommitResult, Dataset
from orchard.errors import ConflictError, DataError
from orchard.registry.channels import ChangeIntent, ChannelChange
from orchard.registry.registry import PublishResult
from tests.faults.interleaving import InterleavedActor, run_interleaved
from tests.faults.invariants import InvariantWitness
from tests.faults.test_publish_crashes import calls_of, empty, folders, world
from tests.orchard.version_fixtures import MODEL, facts, registry_of

__all__ = ["folders"]


def publish(content):
    return lambda store, folders: registry_of(store).publish(folders[content], facts())


def promote(version, who):
    return lambda store, folders: registry_of(store).channel("stable").promote(version, ChangeIntent(who, "why not"))


def rollback(who):
    return lambda store, folders: registry_of(store).channel("stable").rollback(ChangeIntent(who, "it was bad"))


def commit(photos):
    def work(store, folders):
        current = Dataset(store, MODEL).current()
        parent = current.version if current else None
        return Dataset(store, MODEL).commit({"photos": photos}, "dvc", parent=parent, created_by="ingest")

    return work


PAIRS = {
    "the same bytes": (empty, publish(3), publish(3)),
    "the same bytes, later": (world, publish(3), publish(3)),
    "other bytes": (world, publish(0), publish(3)),
    "two promotions": (world, promote(1, "bert"), promote(1, "carl")),
    "first promotions": (lambda folders: world(folders, channel="canary"), promote(1, "bert"), promote(2, "carl")),
    "promotion and rollback": (world, promote(1, "bert"), rollback("carl")),
    "two rollbacks": (world, rollback("bert"), rollback("carl")),
    "two datasets": (world, commit(8), commit(9)),
    "the same dataset": (world, commit(9), commit(9)),
    "first datasets": (empty, commit(8), commit(9)),
}


def judge(witness, actors):
    """A program that did not win got an error, and everything acknowledged exists."""
    for actor in actors:
        assert actor.error is None or isinstance(actor.error, ConflictError | DataError), repr(actor.error)
        match actor.result:
            case PublishResult(version, identity):
                assert witness.published.setdefault(identity, version) == version
            case ChannelChange(pointer):
                witness.changes.append(pointer)
            case CommitResult(version):
                witness.commits[version.version] = version.digest
    witness.check()
    witness.claims()


def every_order(pair, folders):
    """Run the pair in every order; returns the number of orders."""
    start, first, second = PAIRS[pair]
    count = 0
    for before in range(len(calls_of(first, folders, start))):
        for between in range(1, len(calls_of(second, folders, start)) + 1):
            store = start(folders)
            witness = InvariantWitness(store)
            one, two = run_interleaved(
                store, lambda shared: first(shared, folders), lambda shared: second(shared, folders), before, between
            )
            judge(witness, (one, two))
            assert one.error is None or two.error is None, "both were refused"
            if pair.startswith("the same bytes"):
                assert one.result.version == two.result.version
                assert one.result.created + two.result.created == 1
            count += 1
    return count


@pytest.mark.parametrize("pair", PAIRS)
def test_every_order_of_two_programs_keeps_the_invariants(pair, folders):
    assert every_order(pair, folders) >= 9


def test_slow_writer_never_moves_the_dataset_pointer_back(folders):
    store = world(folders)
    witness = InvariantWitness(store)
    slow = InterleavedActor(store, lambda shared: commit(8)(shared, folders))
    while slow.calls[-1].startswith("get") or not slow.calls[-1].endswith("current.json"):
        slow.step()
    with pytest.raises(ConflictError):
        Dataset(store, MODEL).commit({"photos": 9}, "dvc", parent=1, created_by="quick")
    quick = Dataset(store, MODEL).commit({"photos": 9}, "dvc", parent=2, created_by="quick")
    witness.check()

    slow.finish()

    assert (slow.result.version.version, quick.version.version) == (2, 3)
    witness.check()
