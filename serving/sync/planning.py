"""The next actions of sync: a pure function of its state, its observations and the time.

Every action follows from what exists, never from an earlier plan. So a process that is killed at any moment continues where
it was. A version passes these steps:

1. It is downloaded and checked.
2. The engine loads it beside the versions that it serves.
3. The engine predicts its golden photos.
4. The channel's label moves to it.
5. Versions that are no longer needed are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from orchard.client import VersionStatus
from orchard.registry.pointers import ChannelPointer
from serving.models_config import ModelConfig, Specific
from serving.sync.sync_state import ChannelState, SyncState
from serving.sync.timers import BUSY_S, CALM_S, LONGEST_REFUSAL_S, LONGEST_RETRY_S, PERMANENT_KINDS, Timers

__all__ = [
    "BUSY_S", "CALM_S", "LONGEST_REFUSAL_S", "LONGEST_RETRY_S", "AcceptPointer", "Action", "Download", "JudgeAgain",
    "MoveLabel", "Observation", "QueryEngine", "RefuseVersion", "RemoveVersion", "Timers", "Validate", "WriteConfig", "apply",
    "is_loading", "plan",
]  # fmt: skip

_STALE_ERROR_S = 10.0
"""How long an error that the engine reported before a version was configured again may be that of the earlier attempt."""

_ENGINE_KINDS = ("load", "golden", "answer")
_UNLOADED = ("", "START", "END")


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
    """Read the engine's versions and labels."""


@dataclass(frozen=True, slots=True)
class Validate:
    """Predict a loaded version's golden photos, in the background."""

    version: int
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class RefuseVersion:
    """Record that a version failed; `kind` is the reason in the metrics."""

    version: int
    manifest_sha256: str
    reason: str
    kind: str


@dataclass(frozen=True, slots=True)
class JudgeAgain:
    """Try a refused version again: what its refusal rests on has changed, or it is old."""

    version: int
    manifest_sha256: str
    why: str


@dataclass(frozen=True, slots=True)
class MoveLabel:
    """Point a channel's label to another version."""

    channel: str
    version: int


@dataclass(frozen=True, slots=True)
class RemoveVersion:
    """Remove a version from the disk."""

    version: int


Action = (
    AcceptPointer
    | Download
    | WriteConfig
    | QueryEngine
    | Validate
    | RefuseVersion
    | JudgeAgain
    | MoveLabel
    | RemoveVersion
)


@dataclass(frozen=True, slots=True)
class Observation:
    """What sync knows beside its own state.

    Attributes:
        base: the folder of the versions.
        has_engine: False: versions are only downloaded.
        keep: how many earlier versions of labels stay on disk.
        pointers: the newest trusted pointer of each channel.
        downloaded: the SHA-256 of the manifest of each complete version on disk.
        config: the content of the engine's configuration file; None: it names no model.
        statuses: the engine's versions; None while it does not answer.
        confirmed: the version that each label points to at the engine.
        downloading: the download in progress.
        validating: the validation in progress.
        out_of_space: the last download failed for lack of space.
        trusted: the ids of the trusted keys.
        engine_process: which process of the engine it is, counted since sync's start.
        stale_errors: until when the engine's error of a version may be that of an attempt before the current one.
        timers: when the next attempts are due.
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
    trusted: str = ""
    engine_process: int = 0
    stale_errors: Mapping[int, float] = field(default_factory=dict)
    timers: Timers = field(default_factory=Timers)

    def engine_state(self, version: int) -> str:
        """The engine's state of a version; "": the engine does not know it."""
        status = (self.statuses or {}).get(version)
        return status.state if status else ""

    def is_available(self, version: int) -> bool:
        """Whether the engine serves a version."""
        return self.engine_state(version) == "AVAILABLE"

    def has_failed(self, version: int, now: float) -> bool:
        """Whether the engine has tried to load a version as it is configured now, and could not."""
        status = (self.statuses or {}).get(version)
        failed = status is not None and status.state == "END" and bool(status.error)
        return failed and version in self.configured() and now >= self.stale_errors.get(version, 0.0)

    def basis(self, kind: str) -> str:
        """What a refusal of a kind rests on beside the version's own bytes."""
        if kind == "integrity":
            return f"trusted keys {self.trusted}"
        return f"engine process {self.engine_process}" if kind in _ENGINE_KINDS else ""

    def is_downloaded(self, channel: ChannelState) -> bool:
        """Whether the version of a channel is on disk."""
        return self.downloaded.get(channel.version) == channel.manifest_sha256

    def configured(self) -> set[int]:
        """The versions in the engine's configuration."""
        policy = self.config.policy if self.config else None
        return set(policy.versions) if isinstance(policy, Specific) else set()


def plan(state: SyncState, observed: Observation, now: float) -> list[Action]:
    """Return what can be done now. After these actions, and without news, the plan is empty.

    Args:
        state: what sync remembers.
        observed: what it knows beside that.
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
    """Return state and observation after a successful action.

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
            later = replace(observed, config=config if config.policy != Specific(()) else None, timers=timers)
            stale = dict.fromkeys(later.configured() - observed.configured(), now + _STALE_ERROR_S)
            return state, _keep_stale(later, {**observed.stale_errors, **stale})
        case QueryEngine():
            timers = timers.engine_queried(now, pending=_is_pending(state, observed, now))
            return state, _keep_stale(replace(observed, timers=timers), observed.stale_errors)
        case Validate():
            return state, replace(observed, validating=action)
        case RefuseVersion(version, manifest_sha256, reason, kind):
            final, basis = kind in PERMANENT_KINDS, observed.basis(kind)
            state = state.refuse(manifest_sha256, version, reason, final=final, at=at, kind=kind, basis=basis)
            timers = timers.refused(manifest_sha256, state.refused[manifest_sha256], now)
            return state, replace(observed, timers=timers)
        case JudgeAgain():
            return state.judge_again(action.manifest_sha256), observed
        case MoveLabel(channel, version):
            return state.move_label(channel, version, at), observed
        case RemoveVersion(version):
            rest = {number: digest for number, digest in observed.downloaded.items() if number != version}
            return state, replace(observed, downloaded=rest)


def _keep_stale(observed: Observation, stale_errors: Mapping[int, float]) -> Observation:
    """Keep the marks of errors that the engine still reports: once it reports another state, it has begun another attempt."""
    kept = {version: until for version, until in stale_errors.items() if observed.engine_state(version) == "END"}
    return replace(observed, stale_errors=kept)


def is_loading(state: SyncState, observed: Observation) -> bool:
    """Whether the engine has yet to load a desired version."""
    return any(
        observed.is_downloaded(channel) and observed.engine_state(channel.version) in ("", "START", "LOADING")
        for channel in state.desired().values()
    )


def _is_pending(state: SyncState, observed: Observation, now: float) -> bool:
    """Whether the engine is about to report a change."""
    if observed.downloading or observed.validating:
        return True
    moving = any(state.labels.get(name) != channel.version for name, channel in state.desired().items())
    unconfirmed = any(observed.confirmed.get(channel) != at for channel, at in state.labels.items())
    return observed.statuses is not None and (unconfirmed or (moving and now >= observed.timers.retry_at))


def _accept(state: SyncState, observed: Observation, now: float) -> list[Action]:
    return [AcceptPointer(pointer) for pointer in observed.pointers.values() if state.is_new(pointer)]


def _judge_again(state: SyncState, observed: Observation, now: float) -> list[Action]:
    """Judge refused versions again, as far as channels point to them."""
    actions: dict[str, Action] = {}
    for channel in state.channels.values():
        refusal = state.refused.get(channel.manifest_sha256)
        if refusal is None or not refusal.holds:
            continue
        basis = observed.basis(refusal.kind)
        due = observed.timers.judge_at.get(channel.manifest_sha256)
        if due is None or now >= due or basis != refusal.basis:
            why = (
                "sync was restarted" if due is None else "it was refused a while ago" if now >= due else f"now: {basis}"
            )
            actions[channel.manifest_sha256] = JudgeAgain(channel.version, channel.manifest_sha256, why)
    return list(actions.values())


def _download(state: SyncState, observed: Observation, now: float) -> list[Action]:
    if observed.downloading or now < observed.timers.retry_at:
        return []
    missing = {name: channel for name, channel in state.desired().items() if not observed.is_downloaded(channel)}
    pointers = [pointer for name in missing if (pointer := observed.pointers.get(name))]
    current = [pointer for pointer in pointers if pointer.manifest_sha256 == missing[pointer.channel].manifest_sha256]
    return [Download(pointer) for pointer in current[:1]]


def _query(state: SyncState, observed: Observation, now: float) -> list[Action]:
    if not observed.has_engine or now < observed.timers.engine_due:
        return []
    return [*_configure(state, observed, now), QueryEngine()]  # the engine loads what it can meanwhile


def _refuse(state: SyncState, observed: Observation, now: float) -> list[Action]:
    return [
        RefuseVersion(channel.version, channel.manifest_sha256, f"the engine cannot load it: {status.error}", "load")
        for channel, status in _to_validate(state, observed, now)
        if observed.has_failed(channel.version, now)
    ]


def _validate(state: SyncState, observed: Observation, now: float) -> list[Action]:
    loaded = [channel for channel, status in _to_validate(state, observed, now) if status.state == "AVAILABLE"]
    return [Validate(channel.version, channel.manifest_sha256) for channel in loaded[:1]]


def _to_validate(state: SyncState, observed: Observation, now: float) -> list[tuple[ChannelState, VersionStatus]]:
    if not observed.statuses or observed.validating or now < observed.timers.retry_at:
        return []
    pending = {
        channel.version: channel
        for channel in state.desired().values()
        if observed.is_downloaded(channel) and not state.is_validated(channel.manifest_sha256)
    }
    return [(channel, observed.statuses[number]) for number, channel in pending.items() if number in observed.statuses]


def _move(state: SyncState, observed: Observation, now: float) -> list[Action]:
    return [
        MoveLabel(name, channel.version)
        for name, channel in state.desired().items()
        if state.labels.get(name) != channel.version
        and observed.is_downloaded(channel)
        and observed.is_available(channel.version)
        and state.is_validated(channel.manifest_sha256)
    ]


def _configure(state: SyncState, observed: Observation, now: float) -> list[Action]:
    """Configure the versions with a label, and the downloaded ones that a channel points to."""
    downloaded = {channel.version for channel in state.desired().values() if observed.is_downloaded(channel)}
    versions, configured = downloaded | set(state.labels.values()), observed.configured()
    if not versions:  # the last configuration stays, so that something is always served, unless all of it was refused
        refused = {refusal.version for refusal in state.refused.values() if refusal.holds}
        if not configured or not configured <= refused:
            return []
    labels = dict(state.labels)
    if observed.statuses is not None:  # the engine rejects a file with a label on a version that it has not loaded
        labels = {label: at for label, at in labels.items() if observed.engine_state(at) not in ("", "END")}
    config = ModelConfig(state.model, observed.base, Specific(tuple(sorted(versions))), labels)
    return [WriteConfig(config)] if observed.config != (config if versions else None) else []


def _remove(state: SyncState, observed: Observation, now: float) -> list[Action]:
    """Remove versions that no label, channel or quick rollback needs and that the engine has unloaded."""
    if observed.statuses is None and (observed.has_engine or not observed.out_of_space):
        return []
    keep = 0 if observed.out_of_space else observed.keep
    recent = [version for version in state.recent if version in observed.downloaded][:keep]
    desired = {channel.version for channel in state.desired().values()}
    surplus = set(observed.downloaded) - observed.configured() - set(recent) - desired
    return [RemoveVersion(version) for version in sorted(surplus) if observed.engine_state(version) in _UNLOADED]


_STAGES: tuple[Callable[[SyncState, Observation, float], list[Action]], ...] = (
    _accept, _judge_again, _download, _query, _refuse, _validate, _move, _configure, _remove,
)  # fmt: skip
