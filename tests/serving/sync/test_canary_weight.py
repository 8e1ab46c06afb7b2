"""The weights of canary and shadow on their way from the registry to the router's folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchard.registry.channel_weights import end_weights, set_weight
from orchard.registry.channels import ChangeIntent
from serving.sync.canary_route import AWAIT_S, CanaryRoute
from serving.sync.planning import Observation
from serving.sync.routed_weights import routed_weight
from serving.sync.sync_state import ChannelState, RefusedVersion, SyncState
from serving.traffic_weights import ROUTER_FOLDER, read_weight
from tests.serving.programs import until
from tests.serving.sync.test_planning import digest, pointer

BECAUSE = ChangeIntent("anna@bench", "it was time")
CANARY = replace(pointer("canary", 2, 3), weight=10.0)
STATE = SyncState(1, "fruits", {"canary": ChannelState(3, 2, digest(2), "", "")}, {"canary": 2})
SERVED = Observation("/served", pointers={"canary": CANARY}, statuses={}, confirmed={"canary": 2})


@pytest.mark.parametrize(
    ("state", "observed", "weight"),
    [
        (STATE, SERVED, 10.0),
        (STATE, replace(SERVED, pointers={"canary": pointer("canary", 2, 3)}), 0.0),
        (STATE, replace(SERVED, pointers={"canary": replace(CANARY, version=3)}), 0.0),
        (replace(STATE, labels={}), SERVED, 0.0),
        (replace(STATE, refused={digest(2): RefusedVersion(2, "no", 3, True, 0.0)}), SERVED, 0.0),
        (STATE, replace(SERVED, confirmed={"canary": None}), 0.0),
        (STATE, replace(SERVED, confirmed={}, statuses=None), None),
        (STATE, replace(SERVED, pointers={}), None),
        (replace(STATE, channels={}, labels={}), replace(SERVED, pointers={}), 0.0),
    ],
)
def test_the_canary_gets_traffic_only_while_its_own_version_is_served(state, observed, weight):
    assert routed_weight("canary", state, observed) == weight


def test_a_shadow_is_given_its_weight_as_a_canary_is():
    shadow = replace(pointer("shadow", 2, 3), weight=10.0)
    state = replace(STATE, channels={"shadow": STATE.channels["canary"]}, labels={"shadow": 2})
    observed = replace(SERVED, pointers={"shadow": shadow}, confirmed={"shadow": 2})

    assert (routed_weight("shadow", state, observed), routed_weight("canary", state, observed)) == (10.0, 0.0)
    assert routed_weight("shadow", state, replace(observed, confirmed={})) == 0.0


def test_a_weight_acts_once_the_version_is_served_and_ends_with_its_promotion(registry):
    folder = registry.serving / ROUTER_FOLDER
    with registry.serve() as server, registry.sync() as sync:
        registry.release("one")
        until(lambda: sync.served() == 1, "stable is served")
        two = registry.publish("two")
        assert not folder.exists(), "without a weight there is no router to write for"

        set_weight(registry.registry, "canary", 12.5, BECAUSE, version=two)
        until(lambda: read_weight(folder) == 12.5, "the weight has arrived")
        assert sync.served("canary") == two, "the version was served before"
        assert (sync.status["channels"]["canary"]["weight"], sync.status["channels"]["stable"]["weight"]) == (
            12.5,
            None,
        )
        assert server.get("/v1/models/fruits/labels/canary/metadata").status == 200

        set_weight(registry.registry, "canary", 50, BECAUSE)
        until(lambda: read_weight(folder) == 50, "the weight has risen")
        registry.promote(two)
        end_weights(registry.registry, two, BECAUSE)
        until(lambda: read_weight(folder) == 0, "the canary has ended")
        assert "weight channel=canary percent=12.5" in sync.text

        set_weight(registry.registry, "shadow", 100, BECAUSE, version=1)
        until(lambda: read_weight(folder, "shadow") == 100, "the shadow's weight has arrived")
        assert (sync.served("shadow"), read_weight(folder)) == (1, 0)
        until(lambda: "weight channel=shadow percent=100.0 version=1" in sync.text, "it is logged")
        set_weight(registry.registry, "canary", 5, BECAUSE, version=1)
        until(lambda: read_weight(folder) == 5, "the canary has its own weight")
        assert read_weight(folder, "shadow") == 100


def test_a_router_folder_that_cannot_be_written_stops_nothing_and_is_written_later(registry):
    folder = registry.serving / ROUTER_FOLDER
    with registry.serve(), registry.sync() as sync:
        registry.release("one")
        until(lambda: sync.served() == 1, "stable is served")
        folder.write_text("a file in its place")
        set_weight(registry.registry, "canary", 10, BECAUSE, version=registry.publish("two"))
        until(lambda: ROUTER_FOLDER in sync.status["problems"].get("sync", ""), "the problem is reported")
        assert sync.served() == 1

        folder.unlink()
        until(lambda: read_weight(folder) == 10, "the weight has arrived")
        until(lambda: not sync.status["problems"], "the problem has ended")


class ManualClock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


LOADING = replace(SERVED, confirmed={"canary": None})


def awaited(route, state, observed, *, stable_is_live=True):
    route.update(state, observed, stable_is_live=stable_is_live)
    return route.awaited


def test_readiness_waits_for_the_canary_once():
    route = CanaryRoute(None, print, ManualClock())

    assert awaited(route, STATE, LOADING, stable_is_live=False)
    assert awaited(route, STATE, LOADING)
    assert not awaited(route, STATE, SERVED)
    assert not awaited(route, STATE, LOADING), "what was ready stays ready while another canary is loaded"
    assert not awaited(route, STATE, LOADING, stable_is_live=False)


@pytest.mark.parametrize(
    ("state", "observed"),
    [
        (STATE, replace(LOADING, pointers={})),
        (STATE, replace(LOADING, pointers={"canary": replace(CANARY, weight=None)})),
        (STATE, replace(LOADING, pointers={"canary": replace(CANARY, weight=0.0)})),
        (replace(STATE, refused={digest(2): RefusedVersion(2, "no", 3, True, 0.0)}), LOADING),
    ],
)
def test_readiness_does_not_wait_for_a_canary_that_gets_no_traffic(state, observed):
    assert not awaited(CanaryRoute(None, print, ManualClock()), state, observed)


def test_a_canary_that_never_loads_does_not_keep_stable_from_its_clients():
    clock = ManualClock()
    route = CanaryRoute(None, print, clock)
    assert awaited(route, STATE, LOADING)

    clock.now += AWAIT_S

    assert not awaited(route, STATE, LOADING)


def test_a_server_that_starts_while_there_is_a_canary_is_ready_with_both(registry):
    registry.release("one")
    set_weight(registry.registry, "canary", 10, BECAUSE, version=registry.publish("two"))

    with registry.serve(), registry.sync() as sync:
        status = until(lambda: sync.status["ready"] and sync.status, "it is ready")

    assert status["weights"] == {"canary": 10, "shadow": 0}
    assert status["channels"]["canary"]["live"]
