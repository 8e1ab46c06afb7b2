"""Verdicts end with their cause: a refused version is judged again when what its refusal rests on changes, or after a while.

Registry, files and sync are real, the engine is a model, and only the test moves the clock.
"""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import pytest

from orchard import layout
from orchard.errors import IntegrityError
from orchard.files import atomic_write
from orchard.registry.channels import ChangeIntent
from orchard.signing import SigningKey, create_pair, load_key, sign
from serving.sync.planning import LONGEST_REFUSAL_S
from serving.sync.reconciler import STATE_NAME
from serving.sync.status_server import describe
from serving.sync.sync_state import load_state
from tests.faults.model_engine import BROKEN, GOOD, WRONG
from tests.faults.test_sync_schedules import Schedules
from tests.orchard.version_fixtures import registry_of
from tests.serving.conftest import zoo  # noqa: F401  fixture
from tests.serving.model_registry import MODEL

WHY = ChangeIntent("anna", "it is better")


@pytest.fixture
def loop(zoo):  # noqa: F811
    """A registry and a sync with version 1 live; every turn takes half a second of its clock."""
    Schedules.photos = zoo / "photos"
    state = Schedules()
    state.begin()
    state.poll_s = 0.5
    state.release(GOOD, "stable", 8)
    assert state.engine.labels == {"stable": 1}
    yield state
    shutil.rmtree(state.folder, ignore_errors=True)


def refusal(loop):
    return next(iter(describe(loop.sync.status())["refused"]), None)


def problem(loop, channel: str = "stable") -> str:
    return loop.sync.status().problems.get(channel, "")


def turns_until(loop, version: int, seconds: float) -> float:
    """Work until the label is at a version; returns the seconds, and checks meanwhile that version 1 is served."""
    begin = loop.now
    while loop.engine.labels["stable"] != version:
        assert loop.engine.labels["stable"] == 1
        assert loop.engine.is_available(1)
        assert loop.now - begin <= seconds, f"not served {seconds} s after the cause had gone: {refusal(loop)}"
        loop.work(1)
    assert loop.sync.status().problems == {}
    assert describe(loop.sync.status())["refused"] == []
    return loop.now - begin


def other_key(loop) -> SigningKey:
    pair = create_pair(loop.folder / "second")
    loop.both = loop.keys + pair.public.read_bytes()
    return load_key(pair.private)


def release_with(loop, key: SigningKey) -> int:
    """Publish and promote with a key that its own registry trusts beside the first."""
    registry = registry_of(loop.store, key)
    object.__setattr__(registry, "trusted", type(registry.trusted)({**loop.key.trusted.keys, **key.trusted.keys}))
    folder = loop.candidate(GOOD, 77)
    version = registry.publish(folder, loop.metadata).version
    registry.channel("stable").promote(version, WHY)
    loop.kinds[version] = GOOD
    return version


def test_a_key_added_after_the_promotion_makes_pointer_and_version_trusted(loop):
    version = release_with(loop, other_key(loop))
    loop.engine.trust.path.write_bytes(loop.both)
    loop.work(30)
    assert "signed by the unknown key" in problem(loop)
    assert "add its public key to ORCHARD_TRUSTED_KEYS_FILE" in problem(loop)

    atomic_write(loop.trust.path, loop.both)

    assert turns_until(loop, version, 5) <= 5


def test_a_key_added_for_the_manifest_alone_is_enough(loop):
    """The pointer is signed by a trusted key, the manifest by another: the refusal of the version rests on the keys."""
    key = other_key(loop)
    version = release_with(loop, key)
    pointer = json.loads(loop.store.get(layout.channel(MODEL, "stable")).body)["payload"]
    loop.store.put(layout.channel(MODEL, "stable"), json.dumps(sign(pointer, loop.key)).encode())
    loop.engine.trust.path.write_bytes(loop.both)
    loop.poll_s = 2.0
    loop.work(100)
    loop.poll_s = 0.5
    assert refusal(loop)["final"]
    assert refusal(loop)["basis"] == f"trusted keys {loop.key.key_id}"
    assert refusal(loop)["judged_again_in_s"] > 10

    atomic_write(loop.trust.path, loop.both)

    assert turns_until(loop, version, 5) <= 5


def test_a_key_that_is_removed_is_reported_and_what_is_served_stays(loop):
    atomic_write(loop.trust.path, loop.other_keys)
    loop.work(20)
    assert "signed by the unknown key" in problem(loop)
    assert loop.engine.labels == {"stable": 1}

    loop.trust.path.write_text("garbage")  # the keys that were read last stay
    loop.work(3)
    assert "signed by the unknown key" in problem(loop)
    loop.trust.path.unlink()
    loop.work(3)

    atomic_write(loop.trust.path, loop.keys)
    loop.work(3)
    assert problem(loop) == ""
    assert loop.engine.labels == {"stable": 1}


@pytest.mark.parametrize("corrupt_s", [0.5, 15, 300])
def test_bytes_that_were_corrupt_for_a_while_cost_no_more_time_than_that(loop, corrupt_s):
    loop.transit.corrupt = True
    version = publish(loop)
    loop.registry.channel("stable").promote(version, WHY)
    loop.transit.corrupt = False
    loop.sync.watcher.read_channels()
    loop.transit.corrupt = True
    loop.poll_s = max(corrupt_s / 100, 0.5)
    loop.work(int(corrupt_s / loop.poll_s))

    loop.transit.corrupt = False

    turns_until(loop, version, corrupt_s + 15)


def publish(loop, kind: str = GOOD, number: int = 77) -> int:
    folder = loop.candidate(kind, number)
    version = loop.registry.publish(folder, loop.metadata).version
    loop.kinds[version] = kind
    return version


def test_a_pointer_that_was_corrupt_in_transit_is_read_again_though_its_etag_is_the_same(loop):
    version = publish(loop)
    loop.transit.corrupt = True
    loop.registry.channel("stable").promote(version, WHY)
    loop.work(10)
    assert problem(loop)

    loop.transit.corrupt = False

    turns_until(loop, version, 5)


@pytest.mark.parametrize("remedy", ["publish the same files again", "promote --again"])
def test_the_remedy_for_a_damaged_blob_works_as_written(loop, remedy):
    version = publish(loop)
    own = next(file for file in loop.manifest(version).files if file.path == "fingerprint.pb")
    key = layout.blob(MODEL, own.sha256)
    intact = loop.store.get(key).body
    loop.registry.channel("stable").promote(version, WHY)
    loop.store.put(key, intact[:-1] + b"x")
    loop.poll_s = 5.0
    loop.work(60)
    assert refusal(loop)["final"]
    assert loop.engine.labels == {"stable": 1}

    if remedy == "publish the same files again":
        loop.registry.publish(loop.folder / "candidate-77", loop.metadata)
        turns_until(loop, version, LONGEST_REFUSAL_S + 30)
    else:
        loop.store.put(key, intact)
        assert not loop.registry.channel("stable").promote(version, WHY).changed
        assert loop.registry.channel("stable").promote(version, WHY, again=True).changed
        loop.poll_s = 0.5
        turns_until(loop, version, 5)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_engine_that_failed_for_a_while_loads_the_version_later(loop, restarted):
    loop.engine.failing = True
    loop.poll_s = 2.0
    loop.release(GOOD, "stable", 125)
    loop.poll_s = 0.5
    assert refusal(loop)["kind"] == "load"
    assert refusal(loop)["judged_again_in_s"] > 20
    assert loop.engine.labels == {"stable": 1}

    loop.engine.failing = False
    if restarted:
        loop.engine.reload(fresh=True)
    limit = 10 if restarted else LONGEST_REFUSAL_S + 10

    turns_until(loop, 2, limit)


def test_an_error_from_before_the_current_attempt_is_no_verdict(loop):
    loop.engine.failing = True
    loop.release(GOOD, "stable", 20)
    tries = refusal(loop)["tries"]
    loop.engine.failing = False
    loop.registry.channel("stable").promote(2, WHY, again=True)

    for _ in range(8):  # the engine has not read its configuration again yet, and reports the old error
        loop.engine.loaded[2] = type(loop.engine.loaded[1])(2, "END", "no")
        loop.step()

    assert tries == 1
    assert refusal(loop) is None
    turns_until(loop, 2, 20)


@pytest.mark.parametrize(("kind", "name"), [(BROKEN, "load"), (WRONG, "golden")])
def test_a_bad_version_is_judged_less_and_less_often_and_never_served(loop, kind, name):
    loop.release(kind, "stable", 8)
    judged = []
    tries = 0
    loop.poll_s = 5.0
    while loop.now < 2500:
        loop.work(1)
        assert loop.engine.labels == {"stable": 1}
        if refusal(loop) and refusal(loop)["tries"] != tries:
            tries = refusal(loop)["tries"]
            judged.append(loop.now)
    waits = [second - first for first, second in pairwise(judged)]
    assert refusal(loop)["kind"] == name
    assert refusal(loop)["final"]
    assert max(waits) < LONGEST_REFUSAL_S + 20
    assert waits[-1] > LONGEST_REFUSAL_S - 20
    assert len(judged) < 20


def test_a_restart_judges_every_refused_version_again(loop):
    loop.release(WRONG, "stable", 8)
    assert refusal(loop)["final"]
    before = refusal(loop)["tries"]
    loop.start()
    loop.work(8)

    assert refusal(loop)["tries"] == before + 1


def test_files_that_are_removed_from_the_disk_come_back(loop):
    folder = loop.engine.base / "1"
    shutil.rmtree(folder)
    loop.engine.rotted.add(1)
    loop.work(8)

    assert (folder / "saved_model.pb").exists()
    assert loop.engine.labels == {"stable": 1}


def test_files_that_are_changed_on_disk_are_downloaded_again_without_a_restart(loop):
    path = loop.engine.base / "1" / "fingerprint.pb"
    original = path.read_bytes()
    path.write_bytes(original[:-1] + b"x")
    loop.work(8)

    assert path.read_bytes() == original


def point_back(loop, fault: str) -> None:
    """Put another object in the place of the pointer."""
    key = layout.channel(MODEL, "stable")
    if fault == "replayed":
        loop.store.put(key, loop.store.get(layout.history_entry(MODEL, 1, "stable", "promote")).body)
    elif fault == "missing":
        loop.store.delete(key)
    elif fault == "forged":
        payload = json.loads(loop.store.get(key).body)["payload"]
        stranger = load_key(create_pair(loop.folder / "stranger").private)
        loop.store.put(key, json.dumps(sign({**payload, "generation": 99}, stranger)).encode())
    else:  # an old backup: pointer and history
        loop.store.put(key, loop.store.get(layout.history_entry(MODEL, 1, "stable", "promote")).body)
        for generation in (2, 3):
            loop.store.delete(layout.history_entry(MODEL, generation, "stable", "promote"))


@pytest.mark.parametrize("fault", ["replayed", "missing", "forged", "restored"])
def test_the_remedy_for_a_pointer_that_is_not_trusted_works_as_written(loop, fault):
    for number in (2, 3):
        loop.release(GOOD, "stable", 8)
        assert loop.engine.labels == {"stable": number}
    point_back(loop, fault)
    loop.work(4)
    assert problem(loop)
    assert loop.engine.labels == {"stable": 3}
    channel = loop.registry.channel("stable")
    if fault in ("replayed", "missing"):
        assert "promote VERSION --after-generation 3" in problem(loop)
    if fault in ("missing", "forged"):
        with pytest.raises(IntegrityError):
            channel.promote(2, WHY)

    change = channel.promote(2, WHY, after_generation=3)

    assert change.pointer.generation == 4
    loop.work(8)
    assert problem(loop) == ""
    assert loop.engine.labels == {"stable": 2}
    assert [entry.generation for entry in channel.history()] == [1, 2, 3, 4]


def test_the_state_of_an_earlier_release_is_read(loop):
    path = loop.options.serving_dir / STATE_NAME
    loop.release(WRONG, "stable", 8)
    document = json.loads(path.read_text())
    for entry in document["refused"].values():
        for name in ("kind", "basis", "judging"):
            del entry[name]
    path.write_text(json.dumps(document))

    state = load_state(path, MODEL)

    assert state.generations()
    loop.start()
    loop.work(8)
    assert refusal(loop)["kind"] == "golden"
