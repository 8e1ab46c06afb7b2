from __future__ import annotations

import pytest

from orchard import layout
from orchard.errors import ConflictError, DataError, GateRefused
from orchard.registry.channels import ChangeIntent
from orchard.registry.pointers import append
from tests.faults.crashing_store import CrashingStore
from tests.orchard.version_fixtures import BECAUSE, MODEL, facts, registry_of, resigned, saved_model


@pytest.fixture
def store(memory, tmp_path):
    """Versions 1 to 4."""
    for number in range(1, 5):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    return memory


def promote(store, version, channel="stable", intent=BECAUSE, **options):
    return registry_of(store).channel(channel).promote(version, intent, **options)


def rollback(store, why="it was bad", **options):
    return registry_of(store).channel("stable").rollback(ChangeIntent("bert", why), **options)


def meant(store, channel="stable"):
    return [entry.version for entry in registry_of(store).channel(channel).history()]


def test_channel_points_to_nothing_before_its_first_promotion(store):
    assert registry_of(store).channel("stable").read() is None
    assert registry_of(store).channel("stable").history() == []


def test_promotion_says_who_why_and_from_where(store):
    promote(store, 2)

    change = promote(store, 3, intent=ChangeIntent("carl", " canary was fine ", "run-7"))

    now = registry_of(store).channel("stable").read()
    assert change.changed
    assert change.pointer == now
    assert (now.version, now.previous, now.generation, now.action) == (3, 2, 2, "promote")
    assert (now.who, now.why, now.run_id, now.verdict) == ("carl", "canary was fine", "run-7", "accepted")
    assert now.manifest_sha256 == registry_of(store).manifest(3).document_sha256
    key = layout.history_entry(MODEL, 2, "stable", "promote")
    assert store.get(key).body == store.get(layout.channel(MODEL, "stable")).body


def test_channels_are_counted_apart(store):
    promote(store, 1)
    promote(store, 2, "canary")
    promote(store, 2)

    assert (meant(store), meant(store, "canary"), meant(store, "shadow")) == ([1, 2], [2], [])


def test_promotion_to_what_is_there_changes_nothing(store):
    first = promote(store, 2)

    again = promote(store, 2, intent=ChangeIntent("bert", "again"))

    assert (again.changed, again.pointer) == (False, first.pointer)
    assert meant(store) == [2]


def test_rollback_goes_back_and_never_to_what_was_found_bad(store):
    for version in (1, 2, 3):
        promote(store, version)

    assert rollback(store, "3 is bad").pointer.version == 2
    assert rollback(store, "2 is bad too").pointer.version == 1
    with pytest.raises(DataError, match="has pointed to no other version before"):
        rollback(store, "1 as well")
    promote(store, 4)
    assert rollback(store, "4 is worse").pointer.version == 1
    assert meant(store) == [1, 2, 3, 2, 1, 4, 1]


def test_rollback_to_a_version_and_forward_again(store):
    for version in (1, 2, 3):
        promote(store, version)

    assert rollback(store, to=1).pointer.version == 1
    assert rollback(store, "drill over", to=3).pointer.version == 3
    assert rollback(store, "back one").pointer.version == 1


def test_same_rollback_again_changes_nothing(store):
    for version in (1, 2, 3):
        promote(store, version)
    first = rollback(store)

    again = rollback(store)

    assert (again.changed, again.pointer) == (False, first.pointer)


def test_step_of_a_run_is_done_once_even_after_others_went_on(store):
    intent = ChangeIntent("pod", "nightly", "run-1")
    first = promote(store, 1, intent=intent)
    promote(store, 2)

    again = promote(store, 1, intent=intent)

    assert (again.changed, again.pointer) == (False, first.pointer)
    assert meant(store) == [1, 2]
    assert promote(store, 1, "canary", intent).changed
    assert promote(store, 3, intent=intent).changed


def test_rollback_of_a_run_is_done_once(store):
    for version in (1, 2, 3):
        promote(store, version)
    intent = ChangeIntent("pod", "errors", "run-9")
    registry_of(store).channel("stable").rollback(intent)

    assert not registry_of(store).channel("stable").rollback(intent).changed
    assert registry_of(store).channel("stable").rollback(ChangeIntent("pod", "errors", "run-10")).pointer.version == 1


@pytest.mark.parametrize("why", ["", "  "])
def test_change_without_a_reason_is_refused(store, why):
    with pytest.raises(DataError, match="needs a reason"):
        promote(store, 1, intent=ChangeIntent("anna", why))


def test_unknown_channel_and_version_are_named(store):
    with pytest.raises(DataError, match="'beta' is not a channel of 'fruits'; expected one of stable, canary, shadow"):
        promote(store, 1, "beta")
    with pytest.raises(DataError, match="has no version 9"):
        promote(store, 9)
    assert meant(store) == []


def refuse(store, version):
    """Put a manifest there that no publisher writes: signed, and refused by the gate."""
    manifest = registry_of(store).manifest(version)
    payload = manifest.payload()
    payload["gate"] = {"verdict": "refused", "reason": "shop: 67.7 % of 164 right", "sha256": "a" * 64}
    store.put(layout.manifest(MODEL, version), resigned(payload))


def test_version_that_the_gate_refused_needs_a_reason_that_is_kept(store):
    refuse(store, 3)

    with pytest.raises(GateRefused, match=r"on version 3 is 'refused': shop: 67\.7 %"):
        promote(store, 3)
    with pytest.raises(GateRefused):
        promote(store, 3, override_reason=" ")
    change = promote(store, 3, override_reason="the shop asked for it")

    assert (change.pointer.verdict, change.pointer.override_reason) == ("refused", "the shop asked for it")
    assert promote(store, 4, override_reason="not needed").pointer.override_reason is None


def test_channel_that_changes_meanwhile_is_not_overwritten(store):
    promote(store, 1)

    class Meanwhile(CrashingStore):
        def swap(self, key, body, etag):
            promote(self.inner, 4, intent=ChangeIntent("carl", "quicker"))
            return super().swap(key, body, etag)

    with pytest.raises(ConflictError, match="somebody else changed the channel 'stable'"):
        promote(Meanwhile(store), 2)

    assert meant(store) == [1, 4]


def test_older_generation_than_was_seen_is_refused_and_newer_is_fine(store):
    promote(store, 1)
    promote(store, 2)

    assert registry_of(store).channel("stable").read(seen=2).generation == 2
    assert registry_of(store).channel("stable").read(seen=1).generation == 2


def test_history_is_never_written_twice(store):
    promote(store, 1)
    pointer = registry_of(store).channel("stable").read()

    append(store, pointer, store.get(layout.channel(MODEL, "stable")).body)

    assert meant(store) == [1]
