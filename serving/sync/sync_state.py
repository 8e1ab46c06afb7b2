"""What sync must know after a restart, even without the store: `sync.json` in the serving folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from orchard.channel_names import STABLE
from orchard.documents import FORMAT, STRICT, decode, encode, parse
from orchard.errors import IntegrityError, SettingsError
from orchard.files import atomic_write
from orchard.registry.pointers import ChannelPointer

__all__ = ["MAX_TRIES", "ChannelState", "RefusedVersion", "SyncState", "load_state", "save_state"]

MAX_TRIES = 3
_MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class ChannelState:
    """The last trusted pointer of a channel.

    Attributes:
        generation: the highest one read; a lower one is a replay.
        version: the version that it points to.
        manifest_sha256: of that version's manifest.
        why: the reason of the change.
        who: the actor.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    generation: int
    version: int
    manifest_sha256: str
    why: str
    who: str


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """Why a version is not served: it lasts as long as what it rests on, and not longer than its back-off.

    Attributes:
        version: its number.
        reason: what is wrong with it.
        tries: how often it failed.
        final: it has failed for good: it is configured and downloaded no more until it is judged again.
        at: when it last failed, in seconds since 1970, for people.
        kind: the kind of failure: `integrity`, `rule`, `load`, `golden` or `answer`; empty: unknown.
        basis: what it rests on beside the version's own bytes: the trusted keys, or the engine's process.
        judging: it is being judged again now.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    version: int
    reason: str
    tries: int
    final: bool
    at: float
    kind: str = ""
    basis: str = ""
    judging: bool = False

    @property
    def holds(self) -> bool:
        """Whether it keeps the version away from the engine now."""
        return self.final and not self.judging


@dataclass(frozen=True, slots=True)
class SyncState:
    """All that sync remembers. It is immutable; each method returns a new one.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        channels: the last trusted pointer of each channel.
        labels: the served version of each label.
        since: when each label moved there, in seconds since 1970.
        proved: SHA-256 of the manifests whose golden photos the engine answered correctly.
        refused: refusals by the manifest's SHA-256.
        recent: versions that labels pointed to, newest first.
        unfollowed: the last trusted pointer of each channel that is not followed now: followed again, no older one is trusted.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    model: str
    channels: dict[str, ChannelState] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    proved: list[str] = field(default_factory=list)
    refused: dict[str, RefusedVersion] = field(default_factory=dict)
    recent: list[int] = field(default_factory=list)
    unfollowed: dict[str, ChannelState] = field(default_factory=dict)

    def follow(self, names: Collection[str]) -> SyncState:
        """Keep the channels that are followed: others lose their labels, and with them their versions."""
        known = {**self.unfollowed, **self.channels}
        return replace(
            self,
            channels={name: channel for name, channel in known.items() if name in names},
            unfollowed={name: channel for name, channel in known.items() if name not in names},
            labels={name: version for name, version in self.labels.items() if name in names},
            since={name: at for name, at in self.since.items() if name in names},
        )

    def generations(self) -> dict[str, tuple[int, str]]:
        """The highest generation of each channel, and the SHA-256 of its manifest."""
        return {name: (channel.generation, channel.manifest_sha256) for name, channel in self.channels.items()}

    def is_new(self, pointer: ChannelPointer) -> bool:
        """Whether a pointer is newer than the last one of its channel."""
        channel = self.channels.get(pointer.channel)
        return channel is None or pointer.generation > channel.generation

    def accept(self, pointer: ChannelPointer) -> SyncState:
        """Record a channel's new pointer; its version is tried again if it was refused."""
        channel = ChannelState(pointer.generation, pointer.version, pointer.manifest_sha256, pointer.why, pointer.who)
        refused = _without(self.refused, pointer.manifest_sha256)
        return replace(self, channels={**self.channels, pointer.channel: channel}, refused=refused)

    def refuse(
        self,
        manifest_sha256: str,
        version: int,
        reason: str,
        *,
        final: bool,
        at: float,
        kind: str = "",
        basis: str = "",
    ) -> SyncState:
        """Count a failure; after `MAX_TRIES`, or if it was final before, it is final."""
        previous = self.refused.get(manifest_sha256)
        tries = (previous.tries if previous else 0) + 1
        final = final or tries >= MAX_TRIES or (previous is not None and previous.final)
        refusal = RefusedVersion(version, reason, tries, final, at, kind, basis)
        entries = [*_without(self.refused, manifest_sha256).items(), (manifest_sha256, refusal)]
        return replace(self, refused=dict(entries[-_MAX_ENTRIES:]))

    def judge_again(self, manifest_sha256: str) -> SyncState:
        """Let a refused version be tried again; until it succeeds or fails, its refusal is still listed."""
        refusal = replace(self.refused[manifest_sha256], judging=True)
        return replace(self, refused={**self.refused, manifest_sha256: refusal})

    def validate(self, manifest_sha256: str) -> SyncState:
        """Record that the engine answered a version's golden photos correctly."""
        validated = [*self.proved, manifest_sha256][-_MAX_ENTRIES:]
        return replace(self, proved=validated, refused=_without(self.refused, manifest_sha256))

    def move_label(self, channel: str, version: int, at: float) -> SyncState:
        """Point a channel's label to another version."""
        previous, recent = self.labels.get(channel), self.recent
        if previous is not None:
            recent = [previous, *(other for other in recent if other != previous)][:_MAX_ENTRIES]
        labels, since = {**self.labels, channel: version}, {**self.since, channel: at}
        return replace(self, labels=labels, since=since, recent=recent)

    def is_refused(self, manifest_sha256: str) -> bool:
        """Whether a version is refused now."""
        refusal = self.refused.get(manifest_sha256)
        return refusal is not None and refusal.holds

    def is_validated(self, manifest_sha256: str) -> bool:
        """Whether the engine answered a version's golden photos correctly."""
        return manifest_sha256 in self.proved

    def desired(self) -> dict[str, ChannelState]:
        """The state of each channel whose version is not refused now; stable first."""
        return {
            name: channel
            for name, channel in sorted(self.channels.items(), key=lambda item: (item[0] != STABLE, item[0]))
            if not self.is_refused(channel.manifest_sha256)
        }


def _without(refused: dict[str, RefusedVersion], manifest_sha256: str) -> dict[str, RefusedVersion]:
    return {digest: refusal for digest, refusal in refused.items() if digest != manifest_sha256}


def load_state(path: Path, model: str) -> SyncState:
    """Read the state, or begin a new one.

    A damaged file loses the channels' generations, never a version: each version on disk is verified by its own manifest.

    Raises:
        SettingsError: the file belongs to another model.
    """
    try:
        state = decode(SyncState, parse(path.read_bytes(), str(path)), str(path))
    except FileNotFoundError:
        return SyncState(FORMAT, model)
    except IntegrityError:
        path.replace(path.with_name(path.name + ".damaged"))
        return SyncState(FORMAT, model)
    if state.model != model:
        raise SettingsError(
            f"{path.parent} serves the model {state.model!r}, not {model!r}",
            hint="give each model its own ORCHARD_SERVING_DIR",
        )
    return state


def save_state(path: Path, state: SyncState) -> None:
    """Write the state; a crash leaves the old or the new one."""
    document = encode(state)
    if not state.unfollowed:
        del document["unfollowed"]  # programs of before refuse a field that they do not know
    atomic_write(path, json.dumps(document, indent=1, sort_keys=True), fsync=True)
