"""Signed pointers: the documents of channels and their history.

A channel is one signed object that is swapped, with a generation that counts every change; the swap is the commit. The
object names the actor, the reason and the version before. The history keeps the bytes of every pointer.

Before a channel is changed, the history entry of its current pointer is written if it is missing (the last writer was
killed before it). So the history lacks at most the newest entry, and that pointer is still in the channel. No clock is
involved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from orchard import layout
from orchard.documents import decode, encode, strict_dataclass
from orchard.errors import IntegrityError
from orchard.signing import TrustedKeys, read_signed
from orchard.store.conditional import create_once
from orchard.store.objects import ObjectStore

__all__ = [
    "WEIGHT_STEP", "Action", "ChannelPointer", "ChannelSnapshot", "append", "decode_pointer", "encode_pointer",
    "is_weight", "read_bytes",
]  # fmt: skip

Action = Literal["promote", "rollback"]

WEIGHT_STEP = 0.01
"""The steps of a channel's weight, in percent: the router counts in ten-thousandths."""


@strict_dataclass
class ChannelPointer:
    """The pointer of a channel at one generation.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        channel: the channel's name.
        version: the version that the channel points to.
        generation: 1, 2, 3 …: how often the channel has changed.
        manifest_sha256: SHA-256 of the bytes of that version's manifest.
        action: the change that led to it.
        previous: the version before the change, None at first.
        who: the actor.
        why: the reason.
        verdict: the gate's verdict on the version.
        override_reason: why a version was promoted that the gate had not accepted, else None.
        run_id: the run that changed it, None outside a run.
        created: the time, for people (RFC 3339, UTC).
        weight: the share of the traffic in percent, 0 to 100 in steps of `WEIGHT_STEP`, that the router sends to the
            channel; None: none was ever given to this version of the channel.
    """

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
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """A channel as it was read: pointer, bytes and ETag; all None before its first promotion."""

    pointer: ChannelPointer | None = None
    body: bytes | None = None
    etag: str | None = None


def is_weight(value: float) -> bool:
    """Whether a number is a weight: 0 to 100, in steps of `WEIGHT_STEP`."""
    return 0 <= value <= 100 and value == round(value, 2)


def encode_pointer(pointer: ChannelPointer) -> dict[str, Any]:
    """Return the document of a pointer, to be signed. Without a weight it is the one of before there were weights."""
    document = encode(pointer)
    if pointer.weight is None:
        del document["weight"]
    return document


def decode_pointer(body: bytes, trusted: TrustedKeys, model: str, channel: str, key: str) -> ChannelPointer:
    """Verify and read a signed pointer of a channel. Raises `IntegrityError`."""
    pointer = decode(ChannelPointer, read_signed(body, trusted, key), key)
    if (pointer.model, pointer.channel) != (model, channel):
        raise IntegrityError(f"{key} is the pointer of channel {pointer.channel!r} of {pointer.model!r}")
    if pointer.version < 1 or pointer.generation < 1:
        raise IntegrityError(f"{key} points to version {pointer.version} at generation {pointer.generation}")
    if pointer.weight is not None and not is_weight(pointer.weight):
        raise IntegrityError(f"{key} has the weight {pointer.weight}; expected 0 to 100 in steps of {WEIGHT_STEP}")
    return pointer


def read_bytes(body: bytes, model: str, channel: str, trusted: TrustedKeys, *, seen: int = 0) -> ChannelPointer:
    """Verify and read the bytes of a channel's object.

    Args:
        body: the bytes.
        model: the model's name.
        channel: the channel's name.
        trusted: the keys whose signatures are trusted.
        seen: the highest generation that the caller has seen; an older one is a replay and is refused.

    Raises:
        IntegrityError: unsigned, signed by a key that is not trusted, changed, of another channel, or older than `seen`.
    """
    key = layout.channel(model, channel)
    pointer = decode_pointer(body, trusted, model, channel, key)
    if pointer.generation < seen:
        raise IntegrityError(
            f"{key} is at generation {pointer.generation}, but generation {seen} has been seen: "
            "an older pointer was put back",
            hint=f"`orchard promote VERSION --after-generation {seen} --why …` writes a newer one",
        )
    return pointer


def append(store: ObjectStore, pointer: ChannelPointer, body: bytes) -> None:
    """Write a pointer's bytes into the history, once."""
    key = layout.history_entry(pointer.model, pointer.generation, pointer.channel, pointer.action)
    if create_once(store, key, body).body != body:
        raise IntegrityError(f"{key} is not the pointer that the channel had at generation {pointer.generation}")
