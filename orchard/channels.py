"""Channels: which version `stable`, `canary` and `shadow` mean, how that came about, and the way back.

A channel is one signed object that is swapped, with a generation that counts every change; the swap is the commit. The
object itself says who, why and from where, and the history keeps its very bytes, entry by entry. Before a channel is
changed, the entry of what it said until now is written if it is missing (its writer was killed in between), so the
history lacks at most the newest entry, and that one is still in the channel. No clock decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from orchard import layout
from orchard.commits import create_once, get_or_none, swap_once
from orchard.documents import FORMAT, STRICT, canonical_json, decode, encode
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError, ObjectChanged
from orchard.manifest import Manifest
from orchard.registry import read_manifest, verify_blobs
from orchard.signing import SigningKey, TrustedKeys, read_signed, sign
from orchard.store.objects import ObjectStore

__all__ = ["CHANNELS", "Change", "Pointer", "history", "promote", "read", "read_bytes", "rollback"]

CHANNELS = ("stable", "canary", "shadow")


@dataclass(frozen=True, slots=True)
class Pointer:
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
    action: Literal["promote", "rollback"]
    previous: int | None
    who: str
    why: str
    verdict: str
    override_reason: str | None
    run_id: str | None
    created: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a channel says after a promote or a rollback, and whether this call changed it."""

    pointer: Pointer
    changed: bool


@dataclass(frozen=True, slots=True)
class _Order:
    """What somebody asks for: everything of the next pointer but its version and its place in the order."""

    model: str
    channel: str
    action: Literal["promote", "rollback"]
    who: str
    why: str
    override_reason: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True)
class _Stand:
    """A channel as it was read: pointer, bytes and ETag; all None before its first promotion."""

    pointer: Pointer | None = None
    body: bytes | None = None
    etag: str | None = None


def _decode(body: bytes, trusted: TrustedKeys, model: str, channel: str, key: str) -> Pointer:
    found = decode(Pointer, read_signed(body, trusted, key), key)
    if (found.model, found.channel) != (model, channel):
        raise IntegrityError(f"{key} is the pointer of channel {found.channel!r} of {found.model!r}")
    if found.version < 1 or found.generation < 1:
        raise IntegrityError(f"{key} points to version {found.version} at generation {found.generation}")
    return found


def read_bytes(body: bytes, model: str, channel: str, trusted: TrustedKeys, *, seen: int = 0) -> Pointer:
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


def read(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys, *, seen: int = 0) -> Pointer | None:
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


def _stand(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys) -> _Stand:
    """Read a channel and hold it against its history: it is never behind an entry that was written before."""
    newest = max(_entries(store, model, channel), default=0)  # read first: an entry follows its pointer
    found = get_or_none(store, layout.channel(model, channel))
    if found is None:
        if newest:
            raise IntegrityError(
                f"the channel {channel!r} is gone, though its history reaches generation {newest}",
                hint="restore models/ from the backup: channels last",
            )
        return _Stand()
    return _Stand(read_bytes(found.body, model, channel, trusted, seen=newest), found.body, found.etag)


def _append(store: ObjectStore, pointer: Pointer, body: bytes) -> None:
    """Keep a pointer's bytes in the history, once."""
    key = layout.history_entry(pointer.model, pointer.generation, pointer.channel, pointer.action)
    if create_once(store, key, body).body != body:
        raise IntegrityError(f"{key} is not what the channel said at generation {pointer.generation}")


def _caught_up(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys) -> _Stand:
    """Read a channel to change it, and write the newest entry of its history if whoever changed it last did not."""
    stand = _stand(store, model, channel, trusted)
    if stand.pointer is not None and stand.body is not None:
        _append(store, stand.pointer, stand.body)
    return stand


def history(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys) -> list[Pointer]:
    """Return everything that a channel ever said, oldest first; what it says now is the last.

    Raises:
        IntegrityError: an entry is missing, unsigned, changed or in the wrong place.
    """
    return _history(store, model, channel, trusted, _stand(store, model, channel, trusted))


def _history(store: ObjectStore, model: str, channel: str, trusted: TrustedKeys, stand: _Stand) -> list[Pointer]:
    if stand.pointer is None:
        return []
    keys = _entries(store, model, channel)
    found = []
    for generation in range(1, stand.pointer.generation):
        key = keys.get(generation)
        if key is None:
            raise IntegrityError(f"the history of {channel!r} of {model!r} lacks generation {generation}")
        entry = _decode(store.get(key).body, trusted, model, channel, key)
        if layout.history_entry(model, entry.generation, channel, entry.action) != key:
            raise IntegrityError(f"{key} holds the entry of generation {entry.generation}")
        found.append(entry)
    return [*found, stand.pointer]


def _check_verdict(manifest: Manifest, override_reason: str | None) -> None:
    if not manifest.gate.passes and not (override_reason and override_reason.strip()):
        raise GateRefused(
            f"the gate's verdict on version {manifest.version} is {manifest.gate.verdict!r}: {manifest.gate.reason}",
            hint="`--override-reason …` promotes it all the same; the reason is kept in the history for ever",
        )


def _done_before(
    store: ObjectStore, order: _Order, version: int | None, stand: _Stand, trusted: TrustedKeys
) -> Pointer | None:
    """What this very step of this very run did before it was killed or its reply was lost, or None."""
    if order.run_id is None:
        return None
    for entry in reversed(_history(store, order.model, order.channel, trusted, stand)):
        same = (entry.run_id, entry.action) == (order.run_id, order.action)
        if same and version in {None, entry.version}:
            return entry
    return None


def _change(
    store: ObjectStore, order: _Order, version: int, stand: _Stand, key: SigningKey, trusted: TrustedKeys
) -> Change:
    """Swap the channel from what was read to `version`, after proving that version."""
    manifest = read_manifest(store, order.model, version, trusted)
    _check_verdict(manifest, order.override_reason)
    verify_blobs(store, manifest)
    before = stand.pointer
    if before and (before.version, before.manifest_sha256) == (version, manifest.document_sha256):
        return Change(before, changed=False)
    pointer = Pointer(
        format=FORMAT,
        model=order.model,
        channel=order.channel,
        version=version,
        generation=before.generation + 1 if before else 1,
        manifest_sha256=manifest.document_sha256,
        action=order.action,
        previous=before.version if before else None,
        who=order.who,
        why=order.why,
        verdict=manifest.gate.verdict,
        override_reason=order.override_reason if not manifest.gate.passes else None,
        run_id=order.run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    body = canonical_json(sign(encode(pointer), key))
    try:
        swap_once(store, layout.channel(order.model, order.channel), body, stand.etag)
    except ObjectChanged as error:
        raise ConflictError(
            f"somebody else changed the channel {order.channel!r} of {order.model!r} meanwhile; nothing was changed",
            hint="`orchard history` shows what it says now; run the same command again if it is still right",
        ) from error
    _append(store, pointer, body)
    return Change(pointer, changed=True)


def _order(
    model: str,
    channel: str,
    action: Literal["promote", "rollback"],
    who: str,
    why: str,
    override_reason: str | None,
    run_id: str | None,
) -> _Order:
    if channel not in CHANNELS:
        raise DataError(f"{channel!r} is no channel; there are {', '.join(CHANNELS)}")
    if not why.strip():
        raise DataError(f"a {action} needs a reason; the history keeps it", hint="say it with --why …")
    return _Order(model, channel, action, who, why.strip(), override_reason, run_id)


def promote(
    store: ObjectStore,
    model: str,
    channel: str,
    version: int,
    key: SigningKey,
    *,
    who: str,
    why: str,
    trusted: TrustedKeys | None = None,
    override_reason: str | None = None,
    run_id: str | None = None,
) -> Change:
    """Make a channel mean `version`, after proving that version's manifest, verdict and blobs.

    Args:
        store: where.
        model: the model's name.
        channel: the channel's name.
        version: the version it shall mean.
        key: signs the pointer.
        who: who does it.
        why: the reason, kept in the history.
        trusted: keys that are believed; unset: `key` alone.
        override_reason: why a version is promoted though the gate has not accepted it.
        run_id: the run that this belongs to; the same step of the same run is done once, however often it is tried.

    Returns:
        What the channel says; unchanged if it said so already.

    Raises:
        DataError: no such version or channel, or no reason.
        GateRefused: the version's verdict is neither accepted nor overridden, and no reason was given here.
        IntegrityError: the manifest, a blob, the channel or its history is not what it must be.
        ConflictError: somebody else changed the channel in between; nothing was changed.
    """
    order = _order(model, channel, "promote", who, why, override_reason, run_id)
    believed = trusted or key.trusted
    stand = _caught_up(store, model, channel, believed)
    before = _done_before(store, order, version, stand, believed)
    if before is not None:
        return Change(before, changed=False)
    return _change(store, order, version, stand, key, believed)


def _previous(entries: list[Pointer]) -> int | None:
    """The version to go back to: what came before the current one, never one that was rolled back from.

    Promotions pile up, a rollback takes off what lies above its target: after 1, 2, 3 and a rollback to 2, the next
    rollback goes to 1, not to the 3 that was found bad.
    """
    pile: list[int] = []
    for entry in entries:
        if entry.action == "rollback":
            while pile and pile[-1] != entry.version:
                pile.pop()
        if not pile or pile[-1] != entry.version:
            pile.append(entry.version)
    return pile[-2] if len(pile) > 1 else None


def _target(store: ObjectStore, order: _Order, stand: _Stand, trusted: TrustedKeys) -> int:
    """Where a rollback goes that names no version."""
    now = stand.pointer
    if now and not order.run_id and (now.action, now.who, now.why) == (order.action, order.who, order.why):
        return now.version  # the same command again: it was done, its end was not seen
    target = _previous(_history(store, order.model, order.channel, trusted, stand))
    if target is None:
        raise DataError(
            f"the channel {order.channel!r} of {order.model!r} has meant no other version before",
            hint="`orchard rollback --to VERSION` goes to any version; `orchard versions` lists them",
        )
    return target


def rollback(
    store: ObjectStore,
    model: str,
    channel: str,
    key: SigningKey,
    *,
    who: str,
    why: str,
    to: int | None = None,
    trusted: TrustedKeys | None = None,
    run_id: str | None = None,
) -> Change:
    """Make a channel mean an earlier version again, after proving that every one of its blobs is there and right.

    The same rollback again (same run id; without one, the same person and reason) changes nothing, so that it can be
    repeated after a crash; to go further back, say why, or say where to.

    Args:
        store: where.
        model: the model's name.
        channel: the channel's name.
        key: signs the pointer.
        who: who does it.
        why: the reason, kept in the history.
        to: the version; unset: the one that the channel meant before the current one was promoted.
        trusted: keys that are believed; unset: `key` alone.
        run_id: the run that this belongs to, as in `promote`.

    Returns:
        What the channel says; unchanged if it means `to` already.

    Raises:
        DataError: there is nothing to go back to, no such version or channel, or no reason.
        IntegrityError: the version is damaged, or the channel or its history is not what it must be.
        ConflictError: somebody else changed the channel in between; nothing was changed.
    """
    order = _order(model, channel, "rollback", who, why, None, run_id)
    believed = trusted or key.trusted
    stand = _caught_up(store, model, channel, believed)
    before = _done_before(store, order, to, stand, believed)
    if before is not None:
        return Change(before, changed=False)

    target = to if to is not None else _target(store, order, stand, believed)
    return _change(store, order, target, stand, key, believed)
