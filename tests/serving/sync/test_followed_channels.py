"""Which channels sync follows: those of ORCHARD_CHANNELS, each a label of the model."""

from __future__ import annotations

import json
from dataclasses import replace

from orchard.documents import FORMAT
from orchard.registry.channels import ChangeIntent
from serving.sync.reconciler import STATE_NAME
from serving.sync.sync_state import ChannelState, SyncState, load_state, save_state
from tests.serving.model_registry import MODEL
from tests.serving.programs import send_request, until
from tests.serving.sync.test_planning import digest


def channel_state(version: int, generation: int = 1) -> ChannelState:
    return ChannelState(generation, version, digest(version), "", "")


def test_stable_comes_first_whatever_the_other_channels_are_called():
    channels = {name: channel_state(1) for name in ("zoo", "canary", "stable", "a")}

    assert list(SyncState(FORMAT, MODEL, channels).desired()) == ["stable", "a", "canary", "zoo"]


def test_a_channel_that_is_not_followed_has_no_label_and_keeps_its_generation(tmp_path):
    channels = {"stable": channel_state(1), "staging": channel_state(2, 7)}
    state = SyncState(FORMAT, MODEL, channels, {"stable": 1, "staging": 2}, {"staging": 1.0})
    save_state(tmp_path / STATE_NAME, state.follow(("stable", "canary", "staging")))
    assert "unfollowed" not in json.loads((tmp_path / STATE_NAME).read_text()), "an older sync reads the file"

    save_state(tmp_path / STATE_NAME, load_state(tmp_path / STATE_NAME, MODEL).follow(("stable",)))
    without = load_state(tmp_path / STATE_NAME, MODEL)

    assert (without.labels, without.since, list(without.desired())) == ({"stable": 1}, {}, ["stable"])
    assert without.generations() == {"stable": (1, digest(1))}
    again = without.follow(("staging", "stable"))
    assert again.generations() == {"stable": (1, digest(1)), "staging": (7, digest(2))}
    assert (again.unfollowed, again.labels) == ({}, {"stable": 1})


def test_a_channel_of_ones_own_is_a_label_until_it_is_taken_from_the_setting(registry):
    registry.environment["ORCHARD_CHANNELS"] = "stable,staging"
    own = replace(registry.registry, channels=("stable", "staging"))
    with registry.serve() as server:

        def answers(channel: str) -> int:
            found = send_request(
                server.port, "GET", f"/v1/models/{MODEL}/metadata", headers={"x-orchard-channel": channel}
            )
            return int(found.json["model_spec"]["version"]) if found.status == 200 else found.status

        with registry.sync() as sync:
            one, two = registry.release("one"), registry.publish("two")
            own.channel("staging").promote(two, ChangeIntent("anna@bench", "try it"))
            registry.promote(two, "canary")
            until(lambda: sync.served("staging") == two, "the own channel is served")
            until(lambda: sync.served() == one, "stable is served")
            assert (answers("staging"), answers("stable"), answers("canary")) == (two, one, 404)
            assert server.get(f"/v1/models/{MODEL}/labels/staging/metadata").status == 200
            assert set(sync.status["channels"]) == {"stable", "staging"}

        registry.environment["ORCHARD_CHANNELS"] = "stable,canary"
        with registry.sync() as sync:
            until(lambda: answers("staging") == 404, "its label is gone")
            until(lambda: sync.served("canary") == two, "the other channel is served")
            assert answers("stable") == one
            assert f"not followed channel=staging version={two}" in sync.text
