"""Random schedules of publishers, promoters, prunes, a sync that is killed anywhere and a faulty store, against sync's promises.

Registry, files and reconciler are real; the engine and the clock are not. The engine is TF Serving's configuration
semantics in a few lines, as strict as TF Serving: a label on a version that is not available aborts the whole reload.

SYNC_EXAMPLES is the number of schedules, in PARTS that workers share. Each part has its own seed: a run can be repeated,
and no two parts try the same schedules. SYNC_SEED=2 tries others.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchard import layout
from orchard.channel_names import DEFAULT_CHANNELS
from orchard.errors import ConflictError, IntegrityError, StoreError
from orchard.files import atomic_write
from orchard.registry.channels import ChangeIntent, ways_back
from orchard.registry.manifest import Manifest
from orchard.registry.pruning import PruneOptions
from orchard.registry.registry import Registry
from orchard.signing import create_pair, load_key
from orchard.store import ObjectStore
from serving.models_config import parse
from serving.sync.channel_watcher import ChannelWatcher, TrustedKeysFile
from serving.sync.planning import LONGEST_REFUSAL_S, LONGEST_RETRY_S
from serving.sync.reconciler import STATE_NAME, Reconciler, SyncOptions
from serving.sync.sync_state import load_state
from serving.sync.version_cache import check_bytes
from tests.faults.corrupting_store import CorruptingStore
from tests.faults.crashing_store import CrashingStore, Killed
from tests.faults.model_engine import BROKEN, GOOD, WRONG, ModelEngine, run_now
from tests.faults.process_kill import KilledStore, ProcessKill
from tests.orchard.version_fixtures import registry_of
from tests.serving.conftest import zoo  # noqa: F401  fixture
from tests.serving.model_registry import MODEL, ServedRegistry

MEMORY = Path("/dev/shm")  # noqa: S108  thousands of files flushed one by one; the kill is simulated, the power stays on
PARTS = 4
POLLS = 12
TURNS = st.integers(0, 6)
MOSTLY_STABLE = st.sampled_from(("stable", "stable", *DEFAULT_CHANNELS))


class Schedules(RuleBasedStateMachine):
    """One model, three channels, one sync."""

    photos: ClassVar[Path]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="schedules-", dir=MEMORY if MEMORY.is_dir() else None))
        self.store = memory_store()
        pair = create_pair(self.folder / "keys")
        self.key, self.trust = load_key(pair.private), TrustedKeysFile(pair.public)
        self.keys = pair.public.read_bytes()
        self.other_keys = create_pair(self.folder / "other").public.read_bytes()
        self.transit = CorruptingStore(self.store)
        self.poll_s = LONGEST_RETRY_S
        self.metadata = ServedRegistry.facts(type("Zoo", (), {"photos": self.photos})(), "one")
        self.kinds: dict[int, str] = {}
        self.manifests: dict[int, Manifest] = {}
        self.damaged: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.down = False
        self.counter, self.now = itertools.count(), 0.0
        serving = self.folder / "serving"
        serving.mkdir()
        self.options = SyncOptions(serving, MODEL, "http://127.0.0.1:9", keep=1)
        everything = self.folder / "all-keys.pem"
        everything.write_bytes(self.keys)
        self.engine = ModelEngine(serving / "models.config", serving / MODEL, self.store, TrustedKeysFile(everything))
        self.start()

    @property
    def registry(self) -> Registry:
        return registry_of(self.store, self.key)

    def start(self, store: ObjectStore | None = None) -> None:
        """Start sync, as a new process does."""
        state = load_state(self.options.serving_dir / STATE_NAME, MODEL)
        watcher = ChannelWatcher(store or self.transit, MODEL, self.trust, state.generations())
        present = self.on_disk()
        self.sync = Reconciler(
            self.options,
            state,
            watcher,
            self.engine,
            lambda event, **fields: None,
            run_task=run_now,
            clock=lambda: self.now,
        )
        self.engine.rotted |= present - self.on_disk()  # set aside, because their key is not trusted now

    def on_disk(self) -> set[int]:
        return {int(path.name) for path in self.engine.base.glob("[0-9]*")}

    def step(self) -> None:
        if not self.down:
            with suppress(StoreError):
                self.sync.watcher.read_channels()
        self.now += self.poll_s
        self.sync.tick()

    def work(self, turns: int) -> None:
        """Sync and engine take turns."""
        for _ in range(turns):
            self.step()
            if self.engine.up:
                self.engine.reload()

    # publishers, promoters and prunes

    def candidate(self, kind: str, number: int) -> Path:
        """Make a version's files; only one of them differs from every other version's."""
        folder = self.folder / f"candidate-{number}"
        shutil.copytree(self.photos / "one", folder)
        (folder / "fingerprint.pb").write_text(f"{kind} {number}")
        return folder

    def manifest(self, version: int) -> Manifest:
        if version not in self.manifests:  # a manifest is never changed
            self.manifests[version] = self.registry.manifest(version)
        return self.manifests[version]

    @rule(kind=st.sampled_from([GOOD, GOOD, GOOD, WRONG, BROKEN]), channel=MOSTLY_STABLE, turns=TURNS)
    def release(self, kind: str, channel: str, turns: int) -> None:
        """Publish and promote."""
        number = next(self.counter)
        folder = self.candidate(kind, number)
        version = self.registry.publish(folder, self.metadata).version
        shutil.rmtree(folder)
        self.kinds[version] = kind
        self.registry.channel(channel).promote(version, ChangeIntent("anna", f"turn {number}"))
        self.work(turns)

    @rule(call=st.integers(0, 40), fault=st.sampled_from(["killed before", "killed after"]), turns=TURNS)
    def publisher_is_killed(self, call: int, fault, turns: int) -> None:
        """Publish, killed at a store call; prune and let sync work; then publish again."""
        number = next(self.counter)
        folder = self.candidate(GOOD, number)
        with suppress(Killed, IntegrityError):
            registry_of(CrashingStore(self.store, call, fault), self.key).publish(folder, self.metadata)
        self.prune(1, 0)
        self.work(turns)
        self.kinds[self.registry.publish(folder, self.metadata).version] = GOOD
        shutil.rmtree(folder)

    @rule(keep=st.integers(1, 3), turns=TURNS)
    def prune(self, keep: int, turns: int) -> None:
        """Delete versions that are not needed; the channels' versions, and those before, stay complete."""
        self.registry.prune(PruneOptions(keep=keep, delete=True, resume=True))
        if not self.damaged:
            for channel in DEFAULT_CHANNELS:
                for number in ways_back(self.registry.channel(channel).history())[-2:]:
                    self.registry.verify(self.manifest(number))
        self.work(turns)

    @rule(call=st.integers(0, 30), fault=st.sampled_from(["killed before", "killed after"]), turns=TURNS)
    def prune_is_killed(self, call: int, fault, turns: int) -> None:
        options = PruneOptions(keep=1, delete=True, resume=True)
        with suppress(Killed):
            registry_of(CrashingStore(self.store, call, fault), self.key).prune(options)
        self.work(turns)

    @precondition(lambda self: self.kinds)
    @rule(data=st.data(), channel=MOSTLY_STABLE, turns=TURNS)
    def promote(self, data, channel: str, turns: int) -> None:
        """Promote, or roll back to, any published version."""
        version = data.draw(st.sampled_from(sorted(self.kinds)))
        with suppress(IntegrityError, ConflictError):  # its blob is damaged, pruned, or marked by a prune
            self.registry.channel(channel).promote(version, ChangeIntent("anna", f"turn {next(self.counter)}"))
        self.work(turns)

    @precondition(lambda self: self.kinds and not self.damaged)
    @rule(data=st.data(), fault=st.sampled_from(["flip", "cut", "lose"]), turns=TURNS)
    def damage(self, data, fault: str, turns: int) -> None:
        """Damage a blob, most often of a version that sync has not downloaded yet."""
        version = data.draw(st.sampled_from(sorted(self.kinds, reverse=True)))
        own = next(file for file in self.manifest(version).files if file.path == "fingerprint.pb")
        key = layout.blob(MODEL, own.sha256)
        if not self.store.exists(key):  # pruned
            return
        self.damaged[key] = body = self.store.get(key).body
        if fault == "lose":
            self.store.delete(key)
        else:
            self.store.put(key, body[:-1] + b"x" if fault == "flip" else body[:-1])
        self.work(turns)

    @precondition(lambda self: self.damaged)
    @rule()
    def repair(self) -> None:
        for key, body in self.damaged.items():
            self.store.put(key, body)
        self.damaged.clear()

    @precondition(lambda self: self.kinds)
    @rule(data=st.data(), channel=MOSTLY_STABLE, turns=TURNS)
    def replay(self, data, channel: str, turns: int) -> None:
        """Put an old pointer back while sync works, then the current one again."""
        entries = self.registry.channel(channel).history()
        if len(entries) < 2:
            return
        key = layout.channel(MODEL, channel)
        current = self.store.get(key).body
        old = data.draw(st.sampled_from(entries[:-1]))
        self.store.put(key, self.store.get(layout.history_entry(MODEL, old.generation, channel, old.action)).body)
        self.work(turns)
        self.store.put(key, current)

    # causes of verdicts, for a while

    @rule(trusted=st.sampled_from(["key", "other", "both", "broken"]), turns=TURNS)
    def set_keys(self, trusted: str, turns: int) -> None:
        """Add and remove keys in the file of the trusted keys; a broken file changes nothing."""
        bodies = {"key": self.keys, "other": self.other_keys, "both": self.other_keys + self.keys, "broken": b"-----"}
        atomic_write(self.trust.path, bodies[trusted])
        self.trust.current()
        self.work(turns)

    @rule(corrupt=st.booleans(), turns=TURNS)
    def set_transit(self, corrupt: bool, turns: int) -> None:
        """Corrupt every byte on its way from the store, or no longer."""
        self.transit.corrupt = corrupt
        self.work(turns)

    @rule(failing=st.booleans(), turns=TURNS)
    def set_engine_failing(self, failing: bool, turns: int) -> None:
        """The engine has no memory for another version, or has again."""
        self.engine.failing = failing
        self.work(turns)

    @rule(down=st.booleans(), turns=TURNS)
    def set_store(self, down: bool, turns: int) -> None:
        self.down = down
        self.work(turns)

    @rule(up=st.booleans(), turns=TURNS)
    def set_engine(self, up: bool, turns: int) -> None:
        if up and not self.engine.up:
            self.engine.reload(fresh=True)
        self.engine.up = up
        self.work(turns)

    # sync

    @rule(turns=TURNS)
    def all_work(self, turns: int) -> None:
        self.work(turns)

    @rule(call=st.integers(0, 12), fault=st.sampled_from(["killed before", "killed after"]), turns=TURNS)
    def sync_is_killed_at_the_store(self, call: int, fault, turns: int) -> None:
        kill = ProcessKill()
        with suppress(Killed), kill.armed():
            self.start(KilledStore(self.store, call, fault, kill))
            self.work(turns)
        self.start()

    @rule(call=st.integers(0, 25), turns=TURNS)
    def sync_is_killed_at_the_disk(self, call: int, turns: int) -> None:
        with suppress(Killed), ProcessKill(call).armed():
            self.start()
            self.work(turns)
        self.start()

    @rule(turns=TURNS)
    def the_disk_rots(self, turns: int) -> None:
        """A byte of a version changes while sync is not running; the engine keeps what it loaded."""
        for path in sorted(self.engine.base.glob("[0-9]*/fingerprint.pb")):
            path.write_text(path.read_text() + "x")
            rotted = {int(path.parent.name)}
            break
        else:
            return
        self.start()
        self.engine.rotted |= rotted
        self.work(turns)

    @rule()
    def state_is_lost(self) -> None:
        """The state file is garbage: this must not change what is served."""
        (self.options.serving_dir / "sync.json").write_bytes(b"{" * 10)
        self.generations.clear()
        self.start()

    # promises

    @invariant()
    def every_version_on_disk_is_complete(self) -> None:
        for folder in getattr(self, "folder", Path("/nowhere")).glob(f"serving/{MODEL}/[0-9]*"):
            check_bytes(folder, self.manifest(int(folder.name)))

    @invariant()
    def every_configured_version_is_present_and_validated(self) -> None:
        if not hasattr(self, "folder") or not self.engine.config.exists():
            return
        for model in parse(self.engine.config.read_text()):
            for label, number in model.labels.items():
                assert self.kinds[number] == GOOD, f"label {label} points to a {self.kinds[number]} version"
                promoted = {entry.version for entry in self.registry.channel(label).history()}
                assert number in promoted, f"{label} never pointed to {number}"
            missing = {number for number in model.policy.versions if not (self.engine.base / str(number)).is_dir()}
            assert missing <= self.engine.rotten(), f"{missing} are configured and missing"

    @invariant()
    def generations_only_grow(self) -> None:
        if hasattr(self, "sync"):
            for name, channel in self.sync.state.channels.items():
                assert channel.generation >= self.generations.get(name, 0)
                self.generations[name] = channel.generation

    def teardown(self) -> None:
        """Once every cause has ended, the good version of every channel is served within `POLLS` polls, without a restart."""
        if not hasattr(self, "sync"):
            return
        try:
            self.repair()
            self.down, self.engine.up, self.engine.failing, self.transit.corrupt = False, True, False, False
            atomic_write(self.trust.path, self.keys)
            self.engine.reload(fresh=True)
            self.poll_s = LONGEST_REFUSAL_S
            self.work(POLLS)
            for channel in DEFAULT_CHANNELS:
                entries = self.registry.channel(channel).history()
                if entries and self.kinds[entries[-1].version] == GOOD:
                    assert self.engine.labels.get(channel) == entries[-1].version, json.dumps(self.engine.labels)
            leftovers = [
                path.name for path in self.engine.base.iterdir() if path.name.startswith((".staging", ".trash"))
            ]
            self.start()
            assert not [name for name in leftovers if (self.engine.base / name).exists()]
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def memory_store() -> ObjectStore:
    from orchard.settings import Settings
    from orchard.store import open_store

    return open_store(Settings(store_url="memory://"))


@pytest.mark.timeout(900)  # CI runs a thousand schedules
@pytest.mark.parametrize("part", range(PARTS))
def test_under_any_faults_only_verified_versions_are_served(zoo, part):  # noqa: F811
    Schedules.photos = zoo / "photos"
    run_state_machine_as_test(
        seed(int(os.environ.get("SYNC_SEED", "1")) * PARTS + part)(Schedules),
        settings=settings(
            max_examples=int(os.environ.get("SYNC_EXAMPLES", "120")) // PARTS,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_is_served_stays_when_state_and_disk_are_lost_together(zoo):  # noqa: F811
    """The engine has the version in its memory; sync, which lost its state, must not make it unload that version."""
    Schedules.photos = zoo / "photos"
    state = Schedules()
    state.begin()
    try:
        state.release(GOOD, "canary", 3)
        state.release(BROKEN, "stable", 1)
        state.state_is_lost()
        state.the_disk_rots(1)
        assert state.engine.labels
    finally:
        state.teardown()
