"""Prune with a fault at every store call, and interleaved with publishers and promoters in many orders of their calls.

PRUNE_STRIDE=1 runs every order, which takes minutes; by default it is every 13th, spread over all pairs of turns.
"""

from __future__ import annotations

import os

import pytest

from orchard.errors import ConflictError, IntegrityError, StoreUnavailable
from orchard.registry.channels import ChangeIntent, ChannelChange
from orchard.registry.pruning import PruneOptions, PruneResult
from tests.faults.crashing_store import FAULTS, CrashingStore, Killed
from tests.faults.interleaving import run_interleaved
from tests.faults.invariants import InvariantWitness
from tests.faults.test_publish_crashes import folders, promote, publish, publish_another, rollback, world
from tests.orchard.version_fixtures import facts, registry_of, saved_model

__all__ = ["folders"]

KEEP = 1
STRIDE = int(os.environ.get("PRUNE_STRIDE", "13"))


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    return tuple(saved_model(tmp_path_factory.mktemp("more"), f"more {content}") for content in range(3))


def grown(folders, more):
    """Versions 1 to 5; stable at 2 after 1; nothing needs 3 and 4; 5 is the newest."""
    store = world(folders)
    for folder in more:
        registry_of(store).publish(folder, facts())
    return store


def prune(store, *, resume: bool = False):
    return registry_of(store).prune(PruneOptions(keep=KEEP, delete=True, resume=resume))


def republish(more):
    """Publish version 3 again, whose blobs a prune deletes."""
    return lambda store, _: registry_of(store).publish(more[0], facts())


def promote_old(store, _):
    """Promote version 3, whose blobs a prune deletes."""
    return registry_of(store).channel("stable").promote(3, ChangeIntent("bert", "three was best"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_prune_survives_a_fault_at_every_call(folders, more, fault):
    store = CrashingStore(grown(folders, more))
    prune(store)
    points = len(store.calls)
    assert points > 20
    for at in range(FAULTS.index(fault) % 2, points, 2):  # every call gets two or three of the five
        store = grown(folders, more)
        witness = InvariantWitness(store, KEEP)
        with pytest.raises((Killed, StoreUnavailable)):  # noqa: PT012  any of the calls
            prune(CrashingStore(store, at, fault))
            raise StoreUnavailable("the prune recognised that its write was done")
        witness.check()

        publish(store, folders)
        promote(store, folders)
        witness.check()
        prune(store, resume=True)
        assert prune(store).blobs == 0, f"{fault} at call {at}"
        witness.check()
        republish(more)(store, folders)
        promote_old(store, folders)
        witness.check()


CONCURRENT = {
    "a publish": lambda more: publish,
    "the same bytes again": republish,
    "a promotion of a pruned version": lambda more: promote_old,
    "a promotion": lambda more: promote,
    "a rollback": lambda more: rollback,
}


@pytest.mark.parametrize("first", ["prune", "the other"])
@pytest.mark.parametrize("concurrent", CONCURRENT)
def test_interleavings_of_a_prune_keep_the_invariants(folders, more, concurrent, first):
    other = CONCURRENT[concurrent](more)
    works = [prune, lambda store: other(store, folders)]
    if first != "prune":
        works.reverse()
    counts = []
    for work in works:
        store = CrashingStore(grown(folders, more))
        work(store)
        counts.append(len(store.calls))
    for before in range(counts[0]):
        for between in range(1 + before * 5 % STRIDE, counts[1] + 1, STRIDE):
            one, two = run_interleaved(grown(folders, more), *works, before, between)
            judge(one.inner, [one, two])


def judge(store, actors) -> None:
    """Needed versions are intact; a refusal has its reason; a version whose promotion was acknowledged is intact."""
    witness = InvariantWitness(store, KEEP)
    for actor in actors:
        assert actor.error is None or isinstance(actor.error, ConflictError | IntegrityError), repr(actor.error)
        if isinstance(actor.error, IntegrityError):
            assert "is damaged" in actor.error.message, "only a version whose blobs were deleted before"
        if isinstance(actor.result, ChannelChange):
            witness.changes.append(actor.result.pointer)
        assert not isinstance(actor.result, PruneResult) or actor.error is None
    witness.check()


def test_two_prunes_at_once_never_delete_needed_blobs(folders, more):
    store = CrashingStore(grown(folders, more))
    prune(store)
    for before in range(len(store.calls)):
        one, two = run_interleaved(grown(folders, more), prune, prune, before, 1000)
        judge(one.inner, [one, two])
        assert one.error is None or two.error is None


def test_a_publisher_killed_before_its_commit_keeps_its_blobs_through_a_prune(folders, more):
    counted = CrashingStore(grown(folders, more))
    publish(counted, folders)
    for at in range(len(counted.calls)):
        store = grown(folders, more)
        with pytest.raises(Killed):
            publish(CrashingStore(store, at), folders)
        publish_another(store, folders)
        prune(store)

        published = publish(store, folders)

        InvariantWitness(store, KEEP + 1).models()
        assert published.version >= 6
