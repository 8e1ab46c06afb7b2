"""The one place where something is deleted: bytes of versions that nobody can need any more.

Manifests, claims and histories stay permanently: they are small, and numbers, rollbacks and proofs rest on them. A prune
deletes the blobs that no kept version needs. Kept are the newest versions, those that channels point to or can be rolled
back to, those that are served, and those that a publish or promote needs at this moment (see `orchard.registry.leases`). A version
whose bytes are gone cannot be promoted, for promoting proves them; publishing the same files again brings it back under
its number.

A prune goes in rounds: it marks what it will delete, reads once more what is needed, deletes the rest, and takes the
mark away. Killed anywhere, it leaves the mark, which names what a resumed prune deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchard import layout
from orchard.documents import FORMAT, canonical_json, encode
from orchard.errors import ConflictError, DataError, ObjectChanged
from orchard.registry.channels import Channel, ways_back
from orchard.registry.leases import Lease, PruneMarker, holds, read_mark
from orchard.registry.pointers import CHANNELS, ChannelPointer
from orchard.registry.versions import ModelVersions
from orchard.store.conditional import swap_once
from orchard.store.objects import ObjectStat, ObjectStore

__all__ = ["KEEP", "ROUND", "PruneOptions", "PruneResult", "prune"]

KEEP = 10
ROUND = 4096
"""Blobs that are deleted under one mark, which is one small document."""


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What shall stay, and how.

    Attributes:
        keep: how many of the newest versions, and how many steps back on each channel.
        served: versions that are served somewhere.
        delete: False: only say what would go.
        resume: go on with a prune that was killed; nobody else prunes now.
        unfinished: nobody publishes now: also let go of what killed publishes hold.
    """

    keep: int = KEEP
    served: frozenset[int] = frozenset()
    delete: bool = False
    resume: bool = False
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What a prune did, or would do.

    Attributes:
        kept: the versions that stay whole, each with the reasons.
        held: how many publishes and promotions hold blobs.
        blobs: how many blobs are gone, or would go.
        size: their bytes.
        deleted: whether they are gone.
    """

    kept: dict[int, tuple[str, ...]]
    held: int
    blobs: int
    size: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class _RequiredBlobs:
    kept: dict[int, tuple[str, ...]]
    held: int
    blobs: frozenset[str]


def _reasons(
    histories: dict[str, list[ChannelPointer]], numbers: list[int], wish: PruneOptions
) -> dict[int, tuple[str, ...]]:
    """The versions that stay, with the reasons."""
    reasons: dict[int, list[str]] = {}
    for channel, entries in histories.items():
        for steps, version in enumerate(reversed(ways_back(entries)[-wish.keep - 1 :])):
            reasons.setdefault(version, []).append(f"{channel}, {steps} back" if steps else channel)
    for number in numbers[-wish.keep :]:
        reasons.setdefault(number, []).append("new")
    for number in wish.served & set(numbers):
        reasons.setdefault(number, []).append("served")
    return {number: tuple(reasons[number]) for number in sorted(reasons)}


def _needs(registry: ModelVersions, wish: PruneOptions) -> _RequiredBlobs:
    """What must stay. Holds are read before channels and versions: who released one has committed by then."""
    held = list(holds(registry.store, registry.model))
    histories = {name: Channel(registry, name).history() for name in CHANNELS}
    kept = _reasons(histories, registry.versions(), wish)
    blobs: set[str] = set()
    count = 0
    for key, hold in held:
        if _is_over(hold, histories):
            if wish.delete:
                registry.store.delete(key)  # what comes under this key again is over too
        elif hold.channel is not None or not wish.unfinished:
            blobs.update(hold.blobs)
            count += 1
    for number in kept:
        blobs.update(file.sha256 for file in registry.manifest(number).files)
    return _RequiredBlobs(kept, count, frozenset(blobs))


def _is_over(hold: Lease, histories: dict[str, list[ChannelPointer]]) -> bool:
    """Whether the change that holds can happen no more: the channel, as it was read here, is past it."""
    if hold.channel is None or hold.generation is None:
        return False
    return hold.generation <= len(histories.get(hold.channel, ()))  # a history has every generation from 1 on


def _surplus(store: ObjectStore, model: str, needs: _RequiredBlobs) -> list[tuple[str, ObjectStat]]:
    """The blobs that nobody needs."""
    found = []
    for stat in store.list(layout.blobs(model)):
        name = layout.sha256_of_blob_key(stat.key)
        if name is not None and name not in needs.blobs:
            found.append((name, stat))
    return found


def _write_mark(
    store: ObjectStore, before: PruneMarker, etag: str | None, doomed: Iterable[str]
) -> tuple[PruneMarker, str]:
    mark = PruneMarker(FORMAT, before.model, before.turn + 1, tuple(doomed))
    try:
        return mark, swap_once(store, layout.pruning(before.model), canonical_json(encode(mark)), etag).etag
    except ObjectChanged as error:
        raise ConflictError(
            f"another prune of {before.model!r} is at work", hint="let it end; `orchard prune` shows what is left"
        ) from error


def _delete_marked(
    store: ObjectStore, mark: PruneMarker, etag: str | None, needs: Callable[[], _RequiredBlobs]
) -> set[str]:
    """Delete what is marked and still not needed, and take the mark away; returns what was deleted."""
    gone = set(mark.doomed) - needs().blobs
    for name in sorted(gone):
        store.delete(layout.blob(mark.model, name))
    _write_mark(store, mark, etag, ())
    return gone


def prune(registry: ModelVersions, wish: PruneOptions) -> PruneResult:
    """Delete the blobs that nobody can need any more, or report which they are.

    Raises:
        DataError: fewer than one version shall be kept.
        ConflictError: another prune is at work, or was killed and `wish.resume` is not set.
        IntegrityError: a manifest, a channel or a history that is needed is invalid: nothing more is deleted.
        StoreError: the store did not answer or refused.
    """
    if wish.keep < 1:
        raise DataError(f"{wish.keep} versions cannot be kept; expected at least 1")
    store, model = registry.store, registry.model

    def needed() -> _RequiredBlobs:
        return _needs(registry, wish)

    mark, etag = read_mark(store, model)
    if mark.doomed and wish.delete:
        if not wish.resume:
            raise ConflictError(
                f"another prune of {model!r} is deleting {len(mark.doomed)} blobs, or was killed while it did",
                hint="if no other prune runs: `orchard prune --delete --resume`",
            )
        _delete_marked(store, mark, etag, needed)
    blobs = size = 0
    while True:
        needs = needed()
        surplus = _surplus(store, model, needs)
        if not surplus or not wish.delete:
            extent = (len(surplus), sum(stat.size for _, stat in surplus))
            return PruneResult(needs.kept, needs.held, blobs + extent[0], size + extent[1], deleted=wish.delete)
        mark, etag = read_mark(store, model)
        if mark.doomed:
            raise ConflictError(f"another prune of {model!r} began meanwhile", hint="let it end")
        batch = dict(surplus[:ROUND])
        gone = _delete_marked(store, *_write_mark(store, mark, etag, sorted(batch)), needed)
        blobs += len(gone)
        size += sum(batch[name].size for name in gone)
