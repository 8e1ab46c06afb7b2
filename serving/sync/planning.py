"""What sync does next: a pure function of its state, of what it observes and of the time.

Every action follows from what is there, never from an earlier plan, so that a process that is killed at any moment continues
where it was. The order of a version's way: it is downloaded and checked; the engine loads it beside what it serves; its
golden photos are predicted; only then the channel's label moves to it, and what nobody needs is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from orchard.client import VersionStatus
from orchard.registry.pointers import ChannelPointer
from serving.models_config import ModelConfig, Specific
from serving.sync.sync_state import ChannelState, SyncState

__all__ = [
    "BUSY_S", "CALM_S", "LONGEST_RETRY_S", "AcceptPointer", "Action", "Download", "MoveLabel", "Observation", "QueryEngine",
    "RefuseVersion", "RemoveVersion", "Timers", "Validate", "WriteConfig", "apply", "is_loading", "plan", "to_serve",
]  # fmt: skip

BUSY_S, CALM_S = 0.02, 1.0
LONGEST_RETRY_S = 30.0
_RETRY_S = 0.5
_SLOWER = 1.06
_PERMANENT = ("rule", "golden", "load")
_LET_GO = ("", "START", "END")


@dataclass(frozen=True, slots=True)
class AcceptPointer:
    """Record that a channel points to another version."""

    pointer: ChannelPointer


@dataclass(frozen=True, slots=True)
class Download:
    """Download and check the version of a pointer, in the background."""

    pointer: ChannelPointer


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Write the engine's configuration."""

    config: ModelConfig


@dataclass(frozen=True, slots=True)
class QueryEngine:
    """Query the engine for its versions and labels."""


@dataclass(frozen=True, slots=True)
class Validate:
    """Predict a loaded version's golden photos, in the background."""

    version: int
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class RefuseVersion:
    """Record that a version failed; `kind` is the reason's name in the metrics."""

    version: int
    manifest_sha256: str
    reason: str
    kind: str


@dataclass(frozen=True, slots=True)
class MoveLabel:
    """Have a channel's label point to another version."""

    channel: str
    version: int


@dataclass(frozen=True, slots=True)
class RemoveVersion:
    """Remove a version from the disk."""

    version: int


Action = AcceptPointer | Download | WriteConfig | QueryEngine | Validate | RefuseVersion | MoveLabel | RemoveVersion


@dataclass(frozen=True, slots=True)
class Timers:
    """What is due when, in seconds of a monotonic clock.

    Attributes:
        engine_due: the next query of the engine.
        labels_due: the next query of its labels while a version is being loaded, which moves none.
        pace: the time between two queries while something is pending.
        retry_at: no download and no validation starts before.
        retries: how many downloads have failed one after the other.
    """

    engine_due: float = 0.0
    labels_due: float = 0.0
    pace: float = BUSY_S
    retry_at: float = 0.0
    retries: int = 0

    def download_failed(self, now: float) -> Timers:
        """Wait twice as long as after the failure before, up to a limit."""
        delay = min(_RETRY_S * 2 ** min(self.retries, 16), LONGEST_RETRY_S)
        return replace(self, retries=self.retries + 1, retry_at=now + delay)

    def validation_failed(self, now: float) -> Timers:
        """Wait a moment."""
        return replace(self, retry_at=now + _RETRY_S)

    def engine_queried(self, now: float, *, pending: bool) -> Timers:
        """Query again soon, and slowly later, while something is pending."""
        pace = min(self.pace * _SLOWER, CALM_S / 2) if pending else BUSY_S
        return replace(self, pace=pace, engine_due=now + (pace if pending else CALM_S))


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of everything but sync's own state.

    Attributes:
        base: the folder of the versions.
        has_engine: whether there is an engine at all; without one, versions are only downloaded.
        keep: how many versions that labels pointed to before stay on disk.
        pointers: the newest trusted pointer of each channel.
        downloaded: the SHA-256 of the manifest of each version that is whole on disk.
        config: the engine's configuration file; None: it names no model.
        statuses: the engine's versions; None while it does not answer.
        confirmed: the version that each label points to at the engine.
        downloading: the download under way.
        validating: the validation under way.
        out_of_space: the last download had no space.
        timers: what is due when.
    """

    base: str
    has_engine: bool = True
    keep: int = 2
    pointers: Mapping[str, ChannelPointer] = field(default_factory=dict)
    downloaded: Mapping[int, str] = field(default_factory=dict)
    config: ModelConfig | None = None
    statuses: Mapping[int, VersionStatus] | None = None
    confirmed: Mapping[str, int | None] = field(default_factory=dict)
    downloading: Download | None = None
    validating: Validate | None = None
    out_of_space: bool = False
    timers: Timers = field(default_factory=Timers)

    def engine_state(self, version: int) -> str:
        """The engine's state of a version, "" if it does not know it."""
        status = (self.statuses or {}).get(version)
        return status.state if status else ""

    def is_available(self, version: int) -> bool:
        """Whether the engine serves a version."""
        return self.engine_state(version) == "AVAILABLE"

    def is_downloaded(self, seen: ChannelState) -> bool:
        """Whether the version of a channel is on disk."""
        return self.downloaded.get(seen.version) == seen.manifest_sha256

    def configured(self) -> set[int]:
        """The versions in the engine's configuration."""
        policy = self.config.policy if self.config else None
        return set(policy.versions) if isinstance(policy, Specific) else set()


def plan(state: SyncState, observed: Observation, now: float) -> list[Action]:
    """Return what can be done now. After these actions, and with no news, there is nothing to do.

    Args:
        state: what sync remembers.
        observed: what it knows of everything else.
        now: the time of the monotonic clock.
    """
    actions: list[Action] = []
    for decide in _STAGES:
        for action in decide(state, observed, now):
            actions.append(action)
            state, observed = apply(action, state, observed, now)
        if QueryEngine() in actions:  # the rest follows from the answer
            break
    return actions


def apply(
    action: Action, state: SyncState, observed: Observation, now: float, at: float = 0.0
) -> tuple[SyncState, Observation]:
    """Return state and observation after an action that succeeded.

    Args:
        action: the action.
        state: the state before.
        observed: the observation before.
        now: the time of the monotonic clock.
        at: seconds since 1970, for people.
    """
    timers = observed.timers
    match action:
        case AcceptPointer(pointer):
            timers = replace(timers, pace=BUSY_S, engine_due=now, retries=0, retry_at=now)
            return state.accept(pointer), replace(observed, timers=timers)
        case Download():
            return state, replace(observed, downloading=action, out_of_space=False)
        case WriteConfig(config):
            timers = replace(timers, pace=BUSY_S, engine_due=now + BUSY_S)
            return state, replace(observed, config=config if config.policy != Specific(()) else None, timers=timers)
        case QueryEngine():
            timers = timers.engine_queried(now, pending=_is_pending(state, observed, now))
            return state, replace(observed, timers=timers)
        case Validate():
            return state, replace(observed, validating=action)
        case RefuseVersion(version, manifest_sha256, reason, kind):
            return state.refuse(manifest_sha256, version, reason, final=kind in _PERMANENT, at=at), observed
        case MoveLabel(channel, version):
            return state.move_label(channel, version, at), observed
        case RemoveVersion(version):
            rest = {number: digest for number, digest in observed.downloaded.items() if number != version}
            return state, replace(observed, downloaded=rest)


def to_serve(state: SyncState, observed: Observation) -> set[int]:
    """The versions that the engine is to have: those with a label, and those on their way to one."""
    coming = {seen.version for seen in state.desired().values() if observed.is_downloaded(seen)}
    return coming | set(state.labels.values())


def is_loading(state: SyncState, observed: Observation) -> bool:
    """Whether the engine has yet to load a version that it is to serve."""
    return any(
        observed.is_downloaded(seen) and observed.engine_state(seen.version) in ("", "START", "LOADING")
        for seen in state.desired().values()
    )


def _is_pending(state: SyncState, observed: Observation, now: float) -> bool:
    """Whether something is on its way that the engine will show in a moment."""
    if observed.downloading or observed.validating:
        return True
    moving = any(state.labels.get(channel) != seen.version for channel, seen in state.desired().items())
    unconfirmed = any(observed.confirmed.get(channel) != at for channel, at in state.labels.items())
    return observed.statuses is not None and (unconfirmed or (moving and now >= observed.timers.retry_at))


def _accept(state: SyncState, observed: Observation, now: float) -> list[Action]:
    return [AcceptPointer(pointer) for pointer in observed.pointers.values() if state.is_new(pointer)]


def _download(state: SyncState, observed: Observation, now: float) -> list[Action]:
    if observed.downloading or now < observed.timers.retry_at:
        return []
    missing = {channel: seen for channel, seen in state.desired().items() if not observed.is_downloaded(seen)}
    pointers = [pointer for channel in missing if (pointer := observed.pointers.get(channel))]
    found = [pointer for pointer in pointers if pointer.manifest_sha256 == missing[pointer.channel].manifest_sha256]
    return [Download(pointer) for pointer in found[:1]]


def _query(state: SyncState, observed: Observation, now: float) -> list[Action]:
    if not observed.has_engine or now < observed.timers.engine_due:
        return []
    return [*_configure(state, observed, now), QueryEngine()]  # what can be loaded is being loaded meanwhile


def _refuse(state: SyncState, observed: Observation, now: float) -> list[Action]:
    return [
        RefuseVersion(seen.version, seen.manifest_sha256, f"the engine cannot load it: {status.error}", "load")
        for seen, status in _to_validate(state, observed, now)
        if status.state == "END" and status.error
    ]


def _validate(state: SyncState, observed: Observation, now: float) -> list[Action]:
    loaded = [seen for seen, status in _to_validate(state, observed, now) if status.state == "AVAILABLE"]
    return [Validate(seen.version, seen.manifest_sha256) for seen in loaded[:1]]


def _to_validate(state: SyncState, observed: Observation, now: float) -> list[tuple[ChannelState, VersionStatus]]:
    if not observed.statuses or observed.validating or now < observed.timers.retry_at:
        return []
    waiting = {
        seen.version: seen
        for seen in state.desired().values()
        if observed.is_downloaded(seen) and not state.is_validated(seen.manifest_sha256)
    }
    return [(seen, observed.statuses[number]) for number, seen in waiting.items() if number in observed.statuses]


def _move(state: SyncState, observed: Observation, now: float) -> list[Action]:
    return [
        MoveLabel(channel, seen.version)
        for channel, seen in state.desired().items()
        if state.labels.get(channel) != seen.version
        and observed.is_downloaded(seen)
        and observed.is_available(seen.version)
        and state.is_validated(seen.manifest_sha256)
    ]


def _configure(state: SyncState, observed: Observation, now: float) -> list[Action]:
    versions, configured = to_serve(state, observed), observed.configured()
    if not versions:  # what nobody wants stays, so that something is always served; what was refused does not
        refused = {refusal.version for refusal in state.refused.values() if refusal.final}
        if not configured or not configured <= refused:
            return []
    labels = dict(state.labels)
    if observed.statuses is not None:  # the engine would refuse the file for a label on a version that it does not have
        labels = {label: at for label, at in labels.items() if observed.engine_state(at) not in ("", "END")}
    config = ModelConfig(state.model, observed.base, Specific(tuple(sorted(versions))), labels)
    return [WriteConfig(config)] if observed.config != (config if versions else None) else []


def _remove(state: SyncState, observed: Observation, now: float) -> list[Action]:
    """Remove versions that no label, channel or quick rollback needs and that the engine has let go of."""
    if observed.statuses is None and (observed.has_engine or not observed.out_of_space):
        return []
    keep = 0 if observed.out_of_space else observed.keep
    recent = [version for version in state.recent if version in observed.downloaded][:keep]
    desired = {seen.version for seen in state.desired().values()}
    surplus = set(observed.downloaded) - to_serve(state, observed) - observed.configured() - set(recent) - desired
    return [RemoveVersion(version) for version in sorted(surplus) if observed.engine_state(version) in _LET_GO]


_STAGES: tuple[Callable[[SyncState, Observation, float], list[Action]], ...] = (
    _accept, _download, _query, _refuse, _validate, _move, _configure, _remove,
)  # fmt: skip
