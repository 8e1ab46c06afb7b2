"""What sync must know after a restart, even if the store is gone: `sync.json` in the serving folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from orchard.documents import FORMAT, STRICT, decode, encode, parse
from orchard.errors import IntegrityError, SettingsError
from orchard.files import atomic_write
from orchard.registry.pointers import CHANNELS, ChannelPointer

__all__ = ["MAX_TRIES", "ChannelState", "RefusedVersion", "SyncState", "load_state", "save_state"]

MAX_TRIES = 3
_MAX_KEPT = 64


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What a channel said when it was last believed.

    Attributes:
        generation: the highest that was seen; an older one is a replay.
        version: the version that it means.
        manifest_sha256: of that version's manifest.
        why: the reason that was given for it.
        who: who gave it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    generation: int
    version: int
    manifest_sha256: str
    why: str
    who: str


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """Why a version is not served.

    Attributes:
        version: its number.
        reason: what is wrong with it.
        tries: how often that was found.
        final: it is not tried again, unless a channel is set anew.
        at: when, in seconds since 1970, for people.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    version: int
    reason: str
    tries: int
    final: bool
    at: float


@dataclass(frozen=True, slots=True)
class SyncState:
    """Everything that is kept. It is never changed; each method returns another.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        channels: what each channel said, by name.
        labels: the version that each label points to, by label; what is served.
        since: when each label moved there, in seconds since 1970.
        proved: SHA-256 of the manifests whose golden photos were answered rightly.
        refused: refusals by the manifest's SHA-256.
        recent: versions that labels pointed to, newest first.
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

    def generations(self) -> dict[str, tuple[int, str]]:
        """The highest generation of each channel, and the manifest that it named."""
        return {channel: (seen.generation, seen.manifest_sha256) for channel, seen in self.channels.items()}

    def is_new(self, pointer: ChannelPointer) -> bool:
        """Whether a pointer is newer than what its channel said."""
        seen = self.channels.get(pointer.channel)
        return seen is None or pointer.generation > seen.generation

    def accept(self, pointer: ChannelPointer) -> SyncState:
        """Record what a channel says; the version that it points to is tried again if it was refused."""
        seen = ChannelState(pointer.generation, pointer.version, pointer.manifest_sha256, pointer.why, pointer.who)
        refused = _without(self.refused, pointer.manifest_sha256)
        return replace(self, channels={**self.channels, pointer.channel: seen}, refused=refused)

    def refuse(self, manifest_sha256: str, version: int, reason: str, *, final: bool, at: float) -> SyncState:
        """Count a failure; after `MAX_TRIES` it is final."""
        before = self.refused.get(manifest_sha256)
        tries = (before.tries if before else 0) + 1
        refusal = RefusedVersion(version, reason, tries, final or tries >= MAX_TRIES, at)
        kept = [*_without(self.refused, manifest_sha256).items(), (manifest_sha256, refusal)]
        return replace(self, refused=dict(kept[-_MAX_KEPT:]))

    def validate(self, manifest_sha256: str) -> SyncState:
        """Record that a version's golden photos were answered rightly."""
        proved = [*self.proved, manifest_sha256][-_MAX_KEPT:]
        return replace(self, proved=proved, refused=_without(self.refused, manifest_sha256))

    def move_label(self, channel: str, version: int, at: float) -> SyncState:
        """Have a channel's label point to another version."""
        before, recent = self.labels.get(channel), self.recent
        if before is not None:
            recent = [before, *(other for other in recent if other != before)][:_MAX_KEPT]
        labels, since = {**self.labels, channel: version}, {**self.since, channel: at}
        return replace(self, labels=labels, since=since, recent=recent)

    def is_refused(self, manifest_sha256: str) -> bool:
        """Whether a version is not to be tried again."""
        found = self.refused.get(manifest_sha256)
        return found is not None and found.final

    def is_validated(self, manifest_sha256: str) -> bool:
        """Whether a version's golden photos were answered rightly."""
        return manifest_sha256 in self.proved

    def desired(self) -> dict[str, ChannelState]:
        """What each channel points to, without what is refused permanently; stable first."""
        return {
            channel: seen
            for channel in CHANNELS
            if (seen := self.channels.get(channel)) and not self.is_refused(seen.manifest_sha256)
        }


def _without(refused: dict[str, RefusedVersion], manifest_sha256: str) -> dict[str, RefusedVersion]:
    return {digest: refusal for digest, refusal in refused.items() if digest != manifest_sha256}


def load_state(path: Path, model: str) -> SyncState:
    """Read the state, or begin one.

    A damaged file loses what it said of channels, never a version: what is on disk is proved by its own manifest.

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
    """Write the state so that a crash leaves the old or the new one."""
    atomic_write(path, json.dumps(encode(state), indent=1, sort_keys=True), fsync=True)
