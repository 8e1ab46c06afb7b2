"""Properties of the plan of sync, for any state and any observation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.channel_names import DEFAULT_CHANNELS
from orchard.client import VersionStatus
from orchard.registry.pointers import ChannelPointer
from serving.models_config import ModelConfig, Specific
from serving.sync.planning import (
    BUSY_S,
    CALM_S,
    LONGEST_RETRY_S,
    AcceptPointer,
    Download,
    MoveLabel,
    Observation,
    QueryEngine,
    RefuseVersion,
    RemoveVersion,
    Timers,
    Validate,
    WriteConfig,
    apply,
    plan,
)
from serving.sync.sync_state import ChannelState, RefusedVersion, SyncState

MODEL = "fruits"
NUMBERS = (1, 2, 3)
VERSIONS = st.sampled_from(NUMBERS)
SETS = st.sets(VERSIONS)
STATES = st.sampled_from(["AVAILABLE", "AVAILABLE", "AVAILABLE", None, "START", "LOADING", "UNLOADING", "END"])


def digest(version: int) -> str:
    return f"{version:064x}"


def pointer(channel: str, version: int, generation: int) -> ChannelPointer:
    return ChannelPointer(
        1, MODEL, channel, version, generation, digest(version), "promote", None, "anna", "", "accepted", None, None, ""
    )


def partial_dicts(keys, values):
    """Dictionaries with most of the keys."""
    drawn = st.fixed_dictionaries({key: values | values | st.none() for key in keys})
    return drawn.map(lambda full: {key: value for key, value in full.items() if value is not None})


def by_channel(values):
    return partial_dicts((*DEFAULT_CHANNELS, "staging"), values)


@st.composite
def states(draw) -> SyncState:
    channels = draw(by_channel(st.builds(lambda version: ChannelState(3, version, digest(version), "", ""), VERSIONS)))
    labels = draw(by_channel(VERSIONS))
    refused = {
        digest(v): RefusedVersion(v, "wrong", 1, draw(st.booleans()), 0.0) for v in draw(SETS) - set(labels.values())
    }
    validated = [digest(version) for version in draw(SETS)]
    return SyncState(1, MODEL, channels, labels, {}, validated, refused, draw(st.lists(VERSIONS, unique=True)))


@st.composite
def situations(draw) -> tuple[SyncState, Observation, float]:
    """Any state and observation in which each version with a label is configured."""
    state, now = draw(states()), draw(st.floats(0, 100))
    configured = draw(SETS) | set(state.labels.values())
    complete = draw(partial_dicts(NUMBERS, st.booleans()))
    statuses = draw(
        st.sampled_from([partial_dicts(NUMBERS, STATES)] * 3 + [st.none()]).flatmap(lambda strategy: strategy)
    )
    due = st.sampled_from([now - 1, now + 1])
    pointers = draw(by_channel(st.tuples(VERSIONS, st.sampled_from([2, 3, 3, 3, 3, 4]))))
    observed = Observation(
        base="/served",
        has_engine=statuses is not None or draw(st.booleans()),
        keep=draw(st.integers(0, 2)),
        pointers={channel: pointer(channel, *fields) for channel, fields in pointers.items()},
        downloaded={version: digest(version) if valid else "f" * 64 for version, valid in complete.items()},
        config=ModelConfig(MODEL, "/served", Specific(tuple(sorted(configured))), draw(by_channel(VERSIONS)))
        if configured
        else None,
        statuses=statuses
        and {v: VersionStatus(v, s, "no" if s == "END" and v % 2 else "") for v, s in statuses.items()},
        confirmed=draw(by_channel(st.none() | VERSIONS)),
        downloading=draw(st.none() | st.none() | st.just(Download(pointer("stable", 1, 3)))),
        validating=draw(st.none() | st.none() | st.just(Validate(1, digest(1)))),
        out_of_space=draw(st.booleans()),
        timers=Timers(engine_due=draw(due), retry_at=draw(due)),
    )
    return state, observed, now


def after(situation, actions) -> tuple[SyncState, Observation, float]:
    state, observed, now = situation
    for action in actions:
        state, observed = apply(action, state, observed, now)
    return state, observed, now


@given(situations())
def test_once_a_version_is_served_there_are_never_zero_versions(situation):
    state, observed, _ = situation
    final, later, _ = after(situation, plan(*situation))

    refused = {refusal.version for refusal in final.refused.values() if refusal.final}
    assert set(final.labels.values()) <= later.configured()
    assert set(state.labels) <= set(final.labels)
    if observed.configured() - refused:
        assert later.configured()


@given(situations())
def test_only_verified_versions_are_served(situation):
    state, observed, _ = situation
    actions = plan(*situation)
    final, _, _ = after(situation, actions)

    downloaded = {
        channel.version
        for channel in final.channels.values()
        if observed.downloaded.get(channel.version) == digest(channel.version)
    }
    for action in actions:
        if isinstance(action, WriteConfig):
            assert set(action.config.policy.versions) <= downloaded | set(state.labels.values())
            assert action.config.labels.items() <= final.labels.items()
        if isinstance(action, MoveLabel):
            assert action.version in downloaded
            assert final.channels[action.channel].version == action.version
            assert digest(action.version) in state.proved
            assert observed.is_available(action.version)
            assert not final.is_refused(digest(action.version))


@given(situations())
def test_a_version_is_removed_after_the_engine_confirmed_its_successor(situation):
    state, observed, _ = situation
    actions = plan(*situation)
    final, later, _ = after(situation, actions)

    for channel, version in state.labels.items():
        if version not in later.configured():
            successor = final.labels[channel]
            assert successor != version
            assert observed.is_available(successor)
            assert digest(successor) in state.proved
    for action in actions:
        if isinstance(action, RemoveVersion):
            assert action.version not in later.configured() | set(final.labels.values())
            assert action.version not in {channel.version for channel in final.desired().values()}
            assert observed.engine_state(action.version) in ("", "START", "END")
            assert observed.statuses is not None or not observed.has_engine


@given(situations())
def test_after_the_actions_there_is_nothing_to_do(situation):
    actions = plan(*situation)
    later = after(situation, actions)
    if QueryEngine() in actions:  # its answer is news
        actions = plan(*later)
        assert QueryEngine() not in actions
        later = after(later, actions)

    assert plan(*later) == []


@given(situations())
def test_nothing_is_tried_again_before_its_time(situation):
    state, observed, now = situation
    actions = plan(*situation)

    if now < observed.timers.retry_at and not any(state.is_new(pointer) for pointer in observed.pointers.values()):
        assert not any(isinstance(action, Download | Validate) for action in actions)
    if now < observed.timers.engine_due and not any(state.is_new(pointer) for pointer in observed.pointers.values()):
        assert QueryEngine() not in actions
    assert sum(isinstance(action, Download) for action in actions) <= 1 - bool(observed.downloading)


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_retries_slow_down_and_are_bounded(now):
    waits, timers = [], Timers()
    for _ in range(2000):
        timers = timers.download_failed(now)
        waits.append(round(timers.retry_at - now, 6))

    assert all(first < second or second == LONGEST_RETRY_S for first, second in pairwise(waits))
    assert max(waits) == LONGEST_RETRY_S


@pytest.mark.parametrize("now", [0.0, 1e6])
def test_queries_of_the_engine_slow_down_while_it_loads_and_are_bounded(now):
    waits, timers = [], Timers()
    for _ in range(200):
        timers = timers.engine_queried(now, pending=True)
        waits.append(round(timers.engine_due - now, 6))

    assert waits == sorted(waits)
    assert BUSY_S <= waits[0] <= waits[-1] < CALM_S
    assert round(timers.engine_queried(now, pending=False).engine_due - now, 6) == CALM_S


def situation(*statuses: VersionStatus, validated: int = 1, **observed):
    """Versions 1 and 2 are on disk, `stable` points to 2, version `validated` and those before are validated."""
    channels = {"stable": ChannelState(1, 2, digest(2), "", "")}
    proved = [digest(version) for version in range(1, validated + 1)]
    state = SyncState(1, MODEL, channels, {"stable": 1}, proved=proved)
    configured = ModelConfig(MODEL, "/served", Specific((1, 2)), {"stable": 1})
    defaults = {"keep": 0, "downloaded": {1: digest(1), 2: digest(2)}, "config": configured, "timers": WAITING}
    reported = {status.version: status for status in statuses} if statuses else None
    return state, Observation("/served", statuses=reported, **{**defaults, **observed}), 0.0


WAITING = Timers(engine_due=1.0)
ONE, TWO = VersionStatus(1, "AVAILABLE", ""), VersionStatus(2, "AVAILABLE", "")


@pytest.mark.parametrize(
    ("statuses", "validated", "changes", "moves"),
    [
        ((ONE, TWO), 2, {}, True),
        ((ONE, TWO), 1, {}, False),
        ((ONE, TWO), 2, {"downloaded": {1: digest(1)}}, False),
        ((ONE, TWO), 2, {"downloaded": {1: digest(1), 2: digest(3)}}, False),
        ((ONE, VersionStatus(2, "LOADING", "")), 2, {}, False),
        ((ONE,), 2, {}, False),
        ((), 2, {}, False),
    ],
)
def test_a_label_moves_when_its_version_is_downloaded_validated_and_available(statuses, validated, changes, moves):
    assert (MoveLabel("stable", 2) in plan(*situation(*statuses, validated=validated, **changes))) == moves


def test_a_version_is_removed_when_the_engine_has_unloaded_it_after_the_label_moved():
    actions = plan(*situation(ONE, TWO, validated=2))
    assert actions == [
        MoveLabel("stable", 2),
        WriteConfig(ModelConfig(MODEL, "/served", Specific((2,)), {"stable": 2})),
    ]

    state, observed, _ = after(situation(ONE, TWO, validated=2), actions)
    for old, removed in (("AVAILABLE", False), ("UNLOADING", False), (None, False), ("END", True)):
        statuses = {1: VersionStatus(1, old, ""), 2: TWO} if old else None
        actions = plan(state, replace(observed, statuses=statuses, timers=WAITING), 0.0)
        assert actions == ([RemoveVersion(1)] if removed else []), old


@pytest.mark.parametrize("successor", [VersionStatus(2, "LOADING", ""), VersionStatus(2, "UNLOADING", ""), None])
def test_a_version_stays_until_the_engine_has_its_successor(successor):
    statuses = (ONE, successor) if successor else (ONE,)
    assert plan(*situation(*statuses, validated=2)) == []
    for lost in ((VersionStatus(1, "END", ""), *statuses[1:]), statuses[1:]):
        assert RemoveVersion(1) not in plan(*situation(*lost, validated=2))


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        (MoveLabel, situation(ONE, TWO, validated=2)),
        (Validate, situation(ONE, TWO)),
        (RefuseVersion, situation(ONE, VersionStatus(2, "END", "no memory"))),
        (RemoveVersion, situation(ONE, downloaded={1: digest(1), 3: digest(3)})),
        (Download, situation(ONE, downloaded={1: digest(1)}, pointers={"stable": pointer("stable", 2, 1)})),
        (AcceptPointer, situation(ONE, TWO, pointers={"stable": pointer("stable", 1, 2)}, has_engine=False)),
        (WriteConfig, situation(ONE, TWO, config=None)),
        (QueryEngine, situation(ONE, VersionStatus(2, "LOADING", ""), timers=Timers())),
    ],
)
def test_each_action_is_planned_once(kind, start):
    actions = plan(*start)
    assert any(isinstance(action, kind) for action in actions)

    assert plan(*after(start, actions)) == []


@pytest.mark.parametrize("keep", [0, 1])
def test_versions_for_a_quick_rollback_stay(keep):
    state, observed, now = situation(ONE, TWO, keep=keep, downloaded={1: digest(1), 2: digest(2), 3: digest(3)})

    assert (RemoveVersion(3) in plan(replace(state, recent=[3]), observed, now)) == (not keep)


@pytest.mark.parametrize(("retry_at", "retries"), [(0.0, True), (1.0, False)])
def test_a_failed_download_or_validation_is_retried_at_its_time(retry_at, retries):
    timers, newest = Timers(engine_due=1.0, retry_at=retry_at), pointer("stable", 2, 1)
    missing = plan(*situation(ONE, downloaded={1: digest(1)}, pointers={"stable": newest}, timers=timers))

    assert (Download(newest) in missing) == retries
    assert plan(*situation(ONE, TWO, timers=timers)) == [Validate(2, digest(2))] * retries


def test_only_the_version_of_the_accepted_pointer_is_downloaded():
    stale = pointer("stable", 3, 1)

    assert Download(stale) not in plan(*situation(ONE, downloaded={1: digest(1)}, pointers={"stable": stale}))


def test_a_label_is_configured_only_on_a_version_that_the_engine_has():
    actions = plan(*situation(VersionStatus(1, "END", ""), VersionStatus(2, "LOADING", "")))

    assert actions == [WriteConfig(ModelConfig(MODEL, "/served", Specific((1, 2)), {}))]


def test_a_version_that_the_engine_unloaded_without_an_error_is_not_refused():
    assert plan(*situation(ONE, VersionStatus(2, "END", ""))) == []
