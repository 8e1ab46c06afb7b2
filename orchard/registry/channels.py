"""Channels: which version `stable`, `canary` and `shadow` mean, and the two ways to change it.

`orchard.registry.pointers` says how a channel and its history lie in the store and why nothing is ever missing there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orchard import layout
from orchard.documents import FORMAT, canonical_json, encode
from orchard.errors import ConflictError, DataError, GateRefused, ObjectChanged
from orchard.registry.leases import hold_change
from orchard.registry.manifest import Manifest
from orchard.registry.pointers import (
    CHANNELS,
    Action,
    ChannelPointer,
    ChannelSnapshot,
    append,
    history,
    history_of,
    read,
    read_bytes,
    stand,
)
from orchard.registry.registry import read_manifest, verify_blobs
from orchard.signing import SigningKey, TrustedKeys, sign
from orchard.store.conditional import swap_once
from orchard.store.objects import ObjectStore

__all__ = [
    "CHANNELS",
    "ChangeIntent",
    "ChannelChange",
    "ChannelPointer",
    "history",
    "promote",
    "read",
    "read_bytes",
    "rollback",
    "ways_back",
]


@dataclass(frozen=True, slots=True)
class ChangeIntent:
    """Who wants a change and why, kept in the history for ever.

    Attributes:
        who: the person or program.
        why: the reason, in words.
        run_id: the run that the change belongs to: the same step of the same run is done once, however often it is
            tried. None outside a run.
    """

    who: str
    why: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """What a channel says after a promote or a rollback, and whether this call changed it."""

    pointer: ChannelPointer
    changed: bool


@dataclass(frozen=True, slots=True)
class _Order:
    model: str
    channel: str
    action: Action
    intent: ChangeIntent
    key: SigningKey
    trusted: TrustedKeys
    override_reason: str | None = None


def _order(
    model: str,
    channel: str,
    action: Action,
    intent: ChangeIntent,
    key: SigningKey,
    trusted: TrustedKeys | None,
    override_reason: str | None = None,
) -> _Order:
    if channel not in CHANNELS:
        raise DataError(f"{channel!r} is no channel; there are {', '.join(CHANNELS)}")
    if not intent.why.strip() or not intent.who.strip():
        raise DataError(f"a {action} needs a reason; the history keeps it", hint="say it with --why …")
    stripped = replace(intent, why=intent.why.strip())
    return _Order(model, channel, action, stripped, key, trusted or key.trusted, override_reason)


def _caught_up(store: ObjectStore, order: _Order) -> ChannelSnapshot:
    """Read a channel to change it, and write the newest entry of its history if whoever changed it last did not."""
    at = stand(store, order.model, order.channel, order.trusted)
    if at.pointer is not None and at.body is not None:
        append(store, at.pointer, at.body)
    return at


def _done_before(store: ObjectStore, order: _Order, version: int | None, at: ChannelSnapshot) -> ChannelPointer | None:
    """What this very step of this very run did before it was killed or its reply was lost, or None."""
    if order.intent.run_id is None:
        return None
    for entry in reversed(history_of(store, order.model, order.channel, order.trusted, at)):
        same = (entry.run_id, entry.action) == (order.intent.run_id, order.action)
        if same and version in {None, entry.version}:
            return entry
    return None


def _check_verdict(manifest: Manifest, override_reason: str | None) -> None:
    if not manifest.gate.passes and not (override_reason and override_reason.strip()):
        raise GateRefused(
            f"the gate's verdict on version {manifest.version} is {manifest.gate.verdict!r}: {manifest.gate.reason}",
            hint="`--override-reason …` promotes it all the same; the reason is kept in the history for ever",
        )


def _next(order: _Order, before: ChannelPointer | None, manifest: Manifest) -> ChannelPointer:
    return ChannelPointer(
        format=FORMAT,
        model=order.model,
        channel=order.channel,
        version=manifest.version,
        generation=before.generation + 1 if before else 1,
        manifest_sha256=manifest.document_sha256,
        action=order.action,
        previous=before.version if before else None,
        who=order.intent.who,
        why=order.intent.why,
        verdict=manifest.gate.verdict,
        override_reason=order.override_reason if not manifest.gate.passes else None,
        run_id=order.intent.run_id,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
    )


def _change(store: ObjectStore, order: _Order, version: int, at: ChannelSnapshot) -> ChannelChange:
    """Swap the channel from what was read to `version`, after proving that version."""
    manifest = read_manifest(store, order.model, version, order.trusted)
    _check_verdict(manifest, order.override_reason)
    before = at.pointer
    if before and (before.version, before.manifest_sha256) == (version, manifest.document_sha256):
        verify_blobs(store, manifest)
        return ChannelChange(before, changed=False)
    generation = before.generation + 1 if before else 1
    blobs = [file.sha256 for file in manifest.files]
    hold_change(store, order.model, order.channel, generation, version, blobs)
    verify_blobs(store, manifest)
    pointer = _next(order, before, manifest)
    body = canonical_json(sign(encode(pointer), order.key))
    try:
        swap_once(store, layout.channel(order.model, order.channel), body, at.etag)
    except ObjectChanged as error:
        raise ConflictError(
            f"somebody else changed the channel {order.channel!r} of {order.model!r} meanwhile; nothing was changed",
            hint="`orchard history` shows what it says now; run the same command again if it is still right",
        ) from error
    append(store, pointer, body)
    return ChannelChange(pointer, changed=True)


def promote(
    store: ObjectStore,
    model: str,
    channel: str,
    version: int,
    key: SigningKey,
    intent: ChangeIntent,
    *,
    trusted: TrustedKeys | None = None,
    override_reason: str | None = None,
    forward: bool = False,
) -> ChannelChange:
    """Make a channel mean `version`, after proving that version's manifest, verdict and blobs.

    Args:
        store: where.
        model: the model's name.
        channel: the channel's name.
        version: the version it shall mean.
        key: signs the pointer.
        intent: who wants it and why.
        trusted: keys that are believed; unset: `key` alone.
        override_reason: why a version is promoted though the gate has not accepted it.
        forward: leave a channel alone that means a newer version already: somebody else's run was quicker.

    Raises:
        DataError: no such version or channel, or no reason.
        GateRefused: the version's verdict is neither accepted nor overridden, and no reason was given here.
        IntegrityError: the manifest, a blob, the channel or its history is not what it must be.
        ConflictError: somebody else changed the channel in between, a prune is deleting the version's bytes, or
            `forward` and the channel means a newer version; nothing was changed.
    """
    order = _order(model, channel, "promote", intent, key, trusted, override_reason)
    at = _caught_up(store, order)
    before = _done_before(store, order, version, at)
    if forward and before is None and at.pointer is not None and at.pointer.version > version:
        raise ConflictError(
            f"{channel} of {model!r} means version {at.pointer.version} already, which is newer than {version}",
            hint="without --forward it goes back to the older one",
        )
    return ChannelChange(before, changed=False) if before else _change(store, order, version, at)


def ways_back(entries: list[ChannelPointer]) -> list[int]:
    """The versions that rollbacks go to, from the last one on: the current version, the one before it, and so on.

    What was rolled back from is not among them.

    Versions pile up, a rollback to one in the pile takes off what lies above it: after 1, 2, 3 and a rollback to 2, the next
    rollback goes to 1, not to the 3 that was found bad.
    """
    pile: list[int] = []
    for entry in entries:
        if entry.action == "rollback" and entry.version in pile:
            while pile[-1] != entry.version:
                pile.pop()
        elif not pile or pile[-1] != entry.version:
            pile.append(entry.version)
    return pile


def _target(store: ObjectStore, order: _Order, at: ChannelSnapshot) -> int:
    """Where a rollback goes that names no version."""
    now, intent = at.pointer, order.intent
    if now and not intent.run_id and (now.action, now.who, now.why) == (order.action, intent.who, intent.why):
        return now.version  # the same command again: it was done, its end was not seen
    back = ways_back(history_of(store, order.model, order.channel, order.trusted, at))
    if len(back) < 2:
        raise DataError(
            f"the channel {order.channel!r} of {order.model!r} has meant no other version before",
            hint="`orchard rollback --to VERSION` goes to any version; `orchard versions` lists them",
        )
    return back[-2]


def rollback(
    store: ObjectStore,
    model: str,
    channel: str,
    key: SigningKey,
    intent: ChangeIntent,
    *,
    to: int | None = None,
    trusted: TrustedKeys | None = None,
) -> ChannelChange:
    """Make a channel mean an earlier version again, after proving that all its blobs are there and right.

    The same rollback again (same run id; without one, the same person and reason) changes nothing, so that it can be
    repeated after a crash; to go further back, say why, or say where to.

    Args:
        store: where.
        model: the model's name.
        channel: the channel's name.
        key: signs the pointer.
        intent: who wants it and why.
        to: the version; unset: what the channel meant before the current one was promoted.
        trusted: keys that are believed; unset: `key` alone.

    Raises:
        DataError: there is nothing to go back to, no such version or channel, or no reason.
        IntegrityError: the version is damaged, or the channel or its history is not what it must be.
        ConflictError: somebody else changed the channel in between, or a prune is deleting the version's bytes; nothing
            was changed.
    """
    order = _order(model, channel, "rollback", intent, key, trusted)
    at = _caught_up(store, order)
    before = _done_before(store, order, to, at)
    if before is not None:
        return ChannelChange(before, changed=False)
    return _change(store, order, to if to is not None else _target(store, order, at), at)
