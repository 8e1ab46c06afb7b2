"""What channels say and ever said: signed pointers and their history, read and verified.

A channel is one signed object that is swapped, with a generation that counts every change; the swap is the commit. The
object itself says who, why and from where, and the history keeps its very bytes, entry by entry. Before a channel is
changed, the entry of what it said until now is written if it is missing (its writer was killed in between), so the
history lacks at most the newest entry, and that one is still in the channel. No clock decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from orchard import layout
from orchard.documents import STRICT, decode
from orchard.errors import IntegrityError
from orchard.signing import TrustedKeys, read_signed
from orchard.store.conditional import create_once, get_or_none
from orchard.store.objects import ObjectStore

__all__ = [
    "CHANNELS",
    "Action",
    "ChannelPointer",
    "ChannelSnapshot",
    "append",
    "history",
    "history_of",
    "read",
    "read_bytes",
    "stand",
]

CHANNELS = ("stable", "canary", "shadow")

Action = Literal["promote", "rollback"]


@dataclass(frozen=True, slots=True)
class ChannelPointer:
    """What a channel says, and said at one generation of its history.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        channel: the channel's name.
        version: the version it means.
        generation: 1, 2, 3 …: how often the channel has changed.
        manifest_sha256: SHA-256 of the bytes of that version's manifest.
        action: how it came to that.
        previous: the version it meant before, None at first.
        who: who changed it.
        why: the reason that was given.
        verdict: the gate's verdict on the version.
        override_reason: why a version was promoted that the gate had not accepted, else None.
        run_id: the run that changed it, None outside a run.
        created: when, for people (RFC 3339, UTC).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    model: str
    channel: str
    version: int
    generation: int
    manifest_sha256: str
    action: Action
    previous: int | None
    who: str
    why: str
    verdict: str
    override_reason: str | None
    run_id: str | None
    created: str


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel as it was read: pointer, bytes and ETag; all None before its first promotion."""

    pointer: ChannelPointer | None = None
    body: bytes | None = None
    etag: str | None = None


def _decode(body: bytes, trusted: TrustedKeys, model: str, channel: str, key: str) -> ChannelPointer:
    found = decode(ChannelPointer, read_signed(body, trusted, key), key)
    if (found.model, found.channel) != (model, channel):
        raise IntegrityError(f"{key} is the pointer of channel {found.channel!r} of {found.model!r}")
    if found.version < 1 or found.generation < 1:
        raise IntegrityError(f"{key} points to version {found.version} at generation {found.generation}")
    return found


def read_bytes(body: bytes, model: str, channel: str, trusted: TrustedKeys, *, seen: int = 0) -> ChannelPointer:
    """Verify and read the bytes of a channel's object, for callers that fetch it themselves (see `read`)."""
    key = layout.channel(model, channel)
    found = _decode(body, trusted, model, channel, key)
    if found.generation < seen:
        raise IntegrityError(
            f"{key} is at generation {found.generation}, but generation {seen} has been seen: "
            "an older pointer was put back",
            hint="`orchard history` shows what the channel said; `orchard promote` sets it anew",
        )
    return found


def read(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys, *, seen: int = 0) -> ChannelPointer | None:
    """Return what a channel says, or None if nothing was ever promoted to it.

    Args:
        store: where.
        model: the model's name.
        channel: the channel's.
        trusted: the keys that are believed.
        seen: the highest generation that the caller has seen; an older one is a replay and refused.

    Raises:
        IntegrityError: unsigned, signed by a key that is not trusted, changed, of another channel, or older than `seen`.
    """
    found = get_or_none(store, layout.channel(model, channel))
    return None if found is None else read_bytes(found.body, model, channel, trusted, seen=seen)


def _entries(store: ObjectStore, model: str, channel: str) -> dict[int, str]:
    """The keys of a channel's history by generation."""
    found: dict[int, str] = {}
    for stat in store.list(layout.history(model)):
        parts = layout.parts_of_history_key(stat.key)
        if parts and parts[1] == channel:
            if parts[0] in found:
                raise IntegrityError(f"the history has two entries for generation {parts[0]} of {channel}: {stat.key}")
            found[parts[0]] = stat.key
    return found


def stand(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys) -> ChannelSnapshot:
    """Read a channel and hold it against its history: it is never behind an entry that was written before."""
    newest = max(_entries(store, model, channel), default=0)  # read first: an entry follows its pointer
    found = get_or_none(store, layout.channel(model, channel))
    if found is None:
        if newest:
            raise IntegrityError(
                f"the channel {channel!r} is gone, though its history reaches generation {newest}",
                hint="restore models/ from the backup: channels last",
            )
        return ChannelSnapshot()
    return ChannelSnapshot(read_bytes(found.body, model, channel, trusted, seen=newest), found.body, found.etag)


def append(store: ObjectStore, pointer: ChannelPointer, body: bytes) -> None:
    """Keep a pointer's bytes in the history, once."""
    key = layout.history_entry(pointer.model, pointer.generation, pointer.channel, pointer.action)
    if create_once(store, key, body).body != body:
        raise IntegrityError(f"{key} is not what the channel said at generation {pointer.generation}")


def history(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys) -> list[ChannelPointer]:
    """Return everything that a channel ever said, oldest first; what it says now is the last.

    Raises:
        IntegrityError: an entry is missing, unsigned, changed or in the wrong place.
    """
    return history_of(store, model, channel, trusted, stand(store, model, channel, trusted))


def history_of(
    store: ObjectStore, model: str, channel: str, trusted: TrustedKeys, at: ChannelSnapshot
) -> list[ChannelPointer]:
    """`history`, of a channel that has been read already."""
    if at.pointer is None:
        return []
    keys = _entries(store, model, channel)
    found = []
    for generation in range(1, at.pointer.generation):
        key = keys.get(generation)
        if key is None:
            raise IntegrityError(f"the history of {channel!r} of {model!r} lacks generation {generation}")
        entry = _decode(store.get(key).body, trusted, model, channel, key)
        if layout.history_entry(model, entry.generation, channel, entry.action) != key:
            raise IntegrityError(f"{key} holds the entry of generation {entry.generation}")
        found.append(entry)
    return [*found, at.pointer]
