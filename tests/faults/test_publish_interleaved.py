"""Publishers, promoters and ingests that share a store and take turns at every store call, some of them killed."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from obstore.store import MemoryStore

from orchard.dataset import CommitResult, Dataset
from orchard.errors import ConflictError, DataError, StoreUnavailable
from orchard.registry.channels import ChangeIntent, ChannelChange
from orchard.registry.registry import PublishResult
from orchard.store import ObjectStore
from tests.faults.crashing_store import FAULTS, Killed
from tests.faults.interleaving import InterleavedActor
from tests.faults.invariants import InvariantWitness
from tests.orchard.version_fixtures import MODEL, facts, registry_of, saved_model

CONTENTS = 3
EXPECTED_ERRORS = (ConflictError, DataError, StoreUnavailable, Killed)


class Crowd(RuleBasedStateMachine):
    """Up to four programs run at a time; every rule is a turn of one of them, or starts a new one."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.folders = [saved_model(self.folder / str(number), number) for number in range(CONTENTS)]
        self.store = ObjectStore(MemoryStore(), "memory://")
        self.witness = InvariantWitness(self.store)
        self.actors = []
        self.contents = set()
        self.numbers = itertools.count()

    def crowded(self):
        return len(self.actors) >= 4

    def start(self, work):
        actor = InterleavedActor(self.store, work)
        self.actors.append(actor)
        self.collect()

    def collect(self):
        """Record what ended programs acknowledged."""
        for actor in [actor for actor in self.actors if actor.ended]:
            self.actors.remove(actor)
            actor.kill()
            assert actor.error is None or isinstance(actor.error, EXPECTED_ERRORS), repr(actor.error)
            result = actor.result
            if isinstance(result, PublishResult):
                assert self.witness.published.setdefault(result.publish_id, result.version) == result.version
            elif isinstance(result, ChannelChange):
                self.witness.changes.append(result.pointer)
            elif isinstance(result, CommitResult):
                self.witness.commits[result.version.version] = result.version.digest

    @precondition(lambda self: not self.crowded())
    @rule(content=st.integers(0, CONTENTS - 1))
    def begin_publish(self, content):
        self.contents.add(content)
        self.start(lambda store: registry_of(store).publish(self.folders[content], facts()))

    @precondition(lambda self: not self.crowded() and self.witness.published)
    @rule(channel=st.sampled_from(["stable", "canary"]), version=st.integers(1, CONTENTS))
    def begin_promote(self, channel, version):
        intent = ChangeIntent(f"promoter {next(self.numbers)}", "because")
        self.start(lambda store: registry_of(store).channel(channel).promote(version, intent))

    @precondition(lambda self: not self.crowded() and self.witness.changes)
    @rule(channel=st.sampled_from(["stable", "canary"]))
    def begin_rollback(self, channel):
        intent = ChangeIntent(f"promoter {next(self.numbers)}", "it was bad")
        self.start(lambda store: registry_of(store).channel(channel).rollback(intent))

    @precondition(lambda self: not self.crowded())
    @rule(photos=st.integers(1, 3))
    def begin_commit(self, photos):
        def work(store):
            current = Dataset(store, MODEL).current()
            parent = current.version if current else None
            index = {"photos": photos, "after": parent}
            return Dataset(store, MODEL).commit(index, "dvc", parent=parent, created_by="ingest")

        self.start(work)

    @precondition(lambda self: self.actors)
    @rule(turns=st.lists(st.integers(0, 3), min_size=1, max_size=12))
    def take_turns(self, turns):
        for turn in turns:
            if self.actors:
                self.actors[turn % len(self.actors)].step()
                self.collect()

    @precondition(lambda self: self.actors)
    @rule(turn=st.integers(0, 3), fault=st.sampled_from(FAULTS))
    def fail_once(self, turn, fault):
        self.actors[turn % len(self.actors)].step(fault)
        self.collect()

    @invariant()
    def invariants_hold(self):
        self.witness.check()

    def teardown(self):
        try:
            for actor in list(self.actors):
                actor.finish()
            self.collect()
            for content in sorted(self.contents):  # killed publishers run again
                result = registry_of(self.store).publish(self.folders[content], facts())
                assert self.witness.published.setdefault(result.publish_id, result.version) == result.version
            self.witness.check()
            self.witness.claims()
            assert len(registry_of(self.store).versions()) == len(self.contents)
        finally:
            for actor in self.actors:
                actor.kill()
            shutil.rmtree(self.folder)


def test_invariants_hold_in_random_interleavings():
    run_state_machine_as_test(
        Crowd,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
