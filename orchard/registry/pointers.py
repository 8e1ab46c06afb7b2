"""Signed pointers, the documents of which channels and their history consist: read, verified, kept.

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
from orchard.layout import CHANNELS
from orchard.signing import TrustedKeys, read_signed
from orchard.store.conditional import create_once
from orchard.store.objects import ObjectStore

__all__ = ["CHANNELS", "Action", "ChannelPointer", "ChannelSnapshot", "append", "decode_pointer", "read_bytes"]

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


def decode_pointer(body: bytes, trusted: TrustedKeys, model: str, channel: str, key: str) -> ChannelPointer:
    """Verify and read a signed pointer of a channel. Raises `IntegrityError`."""
    found = decode(ChannelPointer, read_signed(body, trusted, key), key)
    if (found.model, found.channel) != (model, channel):
        raise IntegrityError(f"{key} is the pointer of channel {found.channel!r} of {found.model!r}")
    if found.version < 1 or found.generation < 1:
        raise IntegrityError(f"{key} points to version {found.version} at generation {found.generation}")
    return found


def read_bytes(body: bytes, model: str, channel: str, trusted: TrustedKeys, *, seen: int = 0) -> ChannelPointer:
    """Verify and read the bytes of a channel's object.

    Args:
        body: the bytes.
        model: the model's name.
        channel: the channel's name.
        trusted: the keys whose signatures are trusted.
        seen: the highest generation that the caller has seen; an older one is a replay and refused.

    Raises:
        IntegrityError: unsigned, signed by a key that is not trusted, changed, of another channel, or older than `seen`.
    """
    key = layout.channel(model, channel)
    found = decode_pointer(body, trusted, model, channel, key)
    if found.generation < seen:
        raise IntegrityError(
            f"{key} is at generation {found.generation}, but generation {seen} has been seen: "
            "an older pointer was put back",
            hint="`orchard history` shows what the channel said; `orchard promote` sets it anew",
        )
    return found


def append(store: ObjectStore, pointer: ChannelPointer, body: bytes) -> None:
    """Keep a pointer's bytes in the history, once."""
    key = layout.history_entry(pointer.model, pointer.generation, pointer.channel, pointer.action)
    if create_once(store, key, body).body != body:
        raise IntegrityError(f"{key} is not what the channel said at generation {pointer.generation}")
