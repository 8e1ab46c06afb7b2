"""Channels of one's own: a name that is misspelt begins none, and none that exists is ever forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchard import layout
from orchard.cli import main
from orchard.errors import DataError, IntegrityError
from orchard.registry.annotations import Annotations
from orchard.registry.channels import ChangeIntent
from orchard.registry.known_channels import known_channels
from orchard.registry.pruning import PruneOptions
from orchard.signing import create_pair, load_key
from tests.orchard.version_fixtures import BECAUSE, MODEL, facts, registry_of, saved_model

COUNT = 5
STAGING = ("stable", "canary", "shadow", "staging")


@pytest.fixture
def store(memory, tmp_path):
    """Five versions; the channel staging went 1, 2; stable is 3."""
    for number in range(1, COUNT + 1):
        registry_of(memory).publish(saved_model(tmp_path / str(number), number), facts())
    registry_of(memory).channel("stable").promote(3, BECAUSE)
    for number in (1, 2):
        configured(memory).channel("staging").promote(number, BECAUSE)
    return memory


def configured(store, channels=STAGING):
    """The registry of somebody whose ORCHARD_CHANNELS has these."""
    return replace(registry_of(store), channels=channels)


def test_a_misspelt_name_begins_no_channel(store):
    for registry in (registry_of(store), configured(store)):
        with pytest.raises(DataError) as caught:
            registry.channel("stagign").promote(1, BECAUSE)

        assert "'stagign' is not a channel of 'fruits'" in caught.value.message
        assert "expected one of stable, canary, shadow, staging; did you mean staging?" in caught.value.message
        assert f"ORCHARD_CHANNELS={','.join(registry.channels)},stagign" in caught.value.hint
    assert known_channels(registry_of(store)) == STAGING


@pytest.mark.parametrize("name", ["latest", "7", "A", ""])
def test_a_name_that_is_not_valid_is_no_channel_whatever_the_settings_say(store, name):
    with pytest.raises(DataError, match="is not a valid name of a channel"):
        registry_of(store).channel(name)


def test_a_channel_that_exists_needs_no_setting(store):
    staging = registry_of(store).channel("staging")

    assert [entry.version for entry in staging.history()] == [1, 2]
    assert staging.rollback(ChangeIntent("bert", "bad")).pointer.version == 1
    assert registry_of(store).channel("staging").promote(4, BECAUSE).changed


@pytest.mark.parametrize("channels", [("stable",), ("stable", "canary", "shadow"), STAGING])
def test_a_prune_keeps_the_versions_of_every_channel_that_exists(store, channels):
    done = configured(store, channels).prune(PruneOptions(keep=1, delete=True))

    assert done.kept == {1: ("staging, 1 back",), 2: ("staging",), 3: ("stable",), 5: ("new",)}
    for version in (1, 2, 3, 5):
        registry_of(store).verify(registry_of(store).manifest(version))
    with pytest.raises(IntegrityError):
        registry_of(store).verify(registry_of(store).manifest(4))


def test_a_lost_pointer_does_not_make_a_prune_forget_the_channel(store):
    store.delete(layout.channel(MODEL, "staging"))

    with pytest.raises(IntegrityError, match="the channel 'staging' is missing, but its history reaches generation 2"):
        registry_of(store).prune(PruneOptions(keep=1, delete=True))

    for version in range(1, COUNT + 1):
        registry_of(store).verify(registry_of(store).manifest(version))


def test_other_objects_beside_the_pointers_are_no_channels(store):
    for name in ("README", "staging.json.bak", "Beta.json", "a/b.json"):
        store.put(f"{layout.channels(MODEL)}/{name}", b"{}")

    assert known_channels(registry_of(store)) == STAGING


def test_a_new_tag_may_not_look_like_a_channel_and_an_old_one_can_be_removed(store):
    notes, intent = Annotations(registry_of(store), 1), ChangeIntent("anna", "")
    assert notes.add_tag("staging", intent).written

    for name in ("staging", "canary", "latest"):
        with pytest.raises(DataError, match="would look like a channel"):
            Annotations(configured(store), 1).add_tag(name, intent)
    assert Annotations(configured(store), 1).remove_tag("staging", intent).written


def test_verbs_take_a_channel_of_ones_own(seaweed, workspace, monkeypatch, capsys):
    def run(*words):
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    pair = create_pair(workspace / "keys")
    monkeypatch.setenv("ORCHARD_SIGNING_KEY_FILE", str(pair.private))
    monkeypatch.setenv("ORCHARD_TRUSTED_KEYS_FILE", str(pair.public))
    registry = registry_of(seaweed, load_key(pair.private))
    for number in (1, 2):
        registry.publish(saved_model(workspace / str(number), number), facts())

    code, _, err = run("promote", "1", "--channel", "staging", "--why", "first")
    assert (code, "'staging' is not a channel of 'fruits'" in err) == (4, True)
    assert "ORCHARD_CHANNELS=stable,canary,shadow,staging" in err
    monkeypatch.setenv("ORCHARD_CHANNELS", "stable,staging")
    for version in ("1", "2"):
        assert run("promote", version, "--channel", "staging", "--why", f"try {version}")[0] == 0
    monkeypatch.delenv("ORCHARD_CHANNELS")

    assert run("rollback", "--channel", "staging", "--why", "bad")[1].startswith(
        "staging of fruits: version 2 → version 1"
    )
    assert [line.split()[0] for line in run("history")[1].splitlines()] == ["channel", "staging", "staging", "staging"]
    assert run("promote", "staging", "--why", "it was fine")[1].startswith("stable of fruits: nothing → version 1")
    assert "stable staging" in run("versions")[1]
    assert run("history", "--channel", "stagin")[0] == 4
    assert run("history", "--channel", "7")[0] == 2
