"""What sync must know after a restart, even if the store is gone: `sync.json` in the serving folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from orchard.documents import FORMAT, STRICT, decode, encode, parse
from orchard.errors import IntegrityError, SettingsError
from serving.sync.disk import write_file

__all__ = ["MAX_TRIES", "ChannelState", "RefusedVersion", "SyncState", "load_state", "save_state"]

MAX_TRIES = 3
_MAX_REFUSALS = 64


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
class SyncState:
    """Everything that is kept.

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

    def refuse(self, manifest_sha256: str, version: int, reason: str, *, final: bool) -> RefusedVersion:
        """Count a failure; after `MAX_TRIES` it is final."""
        before = self.refused.pop(manifest_sha256, None)
        tries = (before.tries if before else 0) + 1
        found = RefusedVersion(version, reason, tries, final or tries >= MAX_TRIES, time.time())
        self.refused[manifest_sha256] = found
        for oldest in list(self.refused)[:-_MAX_REFUSALS]:
            del self.refused[oldest]
        return found

    def is_refused(self, manifest_sha256: str) -> bool:
        """Whether a version is not to be tried again."""
        found = self.refused.get(manifest_sha256)
        return found is not None and found.final


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
    write_file(path, json.dumps(encode(state), indent=1, sort_keys=True).encode())
