"""Prune: delete the blobs of versions that nothing can need any more.

Manifests, claims and histories stay permanently: they are small, and version numbers, rollbacks and audits depend on
them. A prune deletes the blobs that no kept version needs. It keeps:

- the newest versions,
- the versions that channels point to or can be rolled back to: all channels that exist, whatever ORCHARD_CHANNELS says,
- the versions that are served,
- the blobs that have a lease of a publish or a promotion (see `orchard.registry.leases`).

A version without its blobs cannot be promoted, because promoting verifies them. Publishing the same files again restores
the version under its number.

A prune works in rounds: it writes the blobs to delete into its marker, reads again what is needed, deletes the rest, and
empties the marker. If it is killed, the marker stays and names what a resumed prune deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchard import layout
from orchard.documents import FORMAT, canonical_json, encode
from orchard.errors import ConflictError, DataError, ObjectChanged
from orchard.registry.channels import Channel, ways_back
from orchard.registry.known_channels import known_channels
from orchard.registry.leases import Lease, PruneMarker, read_leases, read_prune_marker
from orchard.registry.pointers import ChannelPointer
from orchard.registry.versions import ModelVersions
from orchard.store.conditional import swap_once
from orchard.store.objects import ObjectStat, ObjectStore

__all__ = ["KEEP", "ROUND", "PruneOptions", "PruneResult", "prune"]

KEEP = 10
ROUND = 4096
"""The largest number of blobs in one marker, which is one small document."""


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What a prune keeps, and whether it deletes.

    Attributes:
        keep: how many of the newest versions, and how many steps back on each channel.
        served: versions that are served somewhere.
        delete: False: only report what would be deleted.
        resume: resume a prune that was killed. Only valid while no other prune runs.
        unfinished: ignore the leases of publishes. Only valid while nobody publishes.
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
        kept: the versions whose blobs are kept, each with the reasons.
        held: how many publishes and promotions have a lease on blobs.
        blobs: how many blobs were deleted, or would be.
        size: their bytes.
        deleted: whether they were deleted.
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
    histories: dict[str, list[ChannelPointer]], numbers: list[int], options: PruneOptions
) -> dict[int, tuple[str, ...]]:
    """The versions that are kept, with the reasons."""
    reasons: dict[int, list[str]] = {}
    for channel, entries in histories.items():
        for steps, version in enumerate(reversed(ways_back(entries)[-options.keep - 1 :])):
            reasons.setdefault(version, []).append(f"{channel}, {steps} back" if steps else channel)
    for number in numbers[-options.keep :]:
        reasons.setdefault(number, []).append("new")
    for number in options.served & set(numbers):
        reasons.setdefault(number, []).append("served")
    return {number: tuple(reasons[number]) for number in sorted(reasons)}


def _required(registry: ModelVersions, options: PruneOptions) -> _RequiredBlobs:
    """Read which blobs are needed. Leases are read before channels and versions: a released lease was committed by then."""
    leases = list(read_leases(registry.store, registry.model))
    histories = {name: Channel(registry, name).history() for name in known_channels(registry)}
    kept = _reasons(histories, registry.versions(), options)
    blobs: set[str] = set()
    count = 0
    for key, lease in leases:
        if _is_expired(lease, histories):
            if options.delete:
                registry.store.delete(key)  # a later lease under this key is expired too
        elif lease.channel is not None or not options.unfinished:
            blobs.update(lease.blobs)
            count += 1
    for number in kept:
        blobs.update(file.sha256 for file in registry.manifest(number).files)
    return _RequiredBlobs(kept, count, frozenset(blobs))


def _is_expired(lease: Lease, histories: dict[str, list[ChannelPointer]]) -> bool:
    """Whether the change can no longer succeed: the channel, as it was read here, is past its generation."""
    if lease.channel is None or lease.generation is None:
        return False
    return lease.generation <= len(histories.get(lease.channel, ()))  # a history has every generation from 1 on


def _surplus(store: ObjectStore, model: str, required: _RequiredBlobs) -> list[tuple[str, ObjectStat]]:
    """The blobs that nothing needs, by SHA-256."""
    surplus = []
    for stat in store.list(layout.blobs(model)):
        name = layout.sha256_of_blob_key(stat.key)
        if name is not None and name not in required.blobs:
            surplus.append((name, stat))
    return surplus


def _write_marker(
    store: ObjectStore, before: PruneMarker, etag: str | None, doomed: Iterable[str]
) -> tuple[PruneMarker, str]:
    marker = PruneMarker(FORMAT, before.model, before.turn + 1, tuple(doomed))
    try:
        return marker, swap_once(store, layout.prune_marker(before.model), canonical_json(encode(marker)), etag).etag
    except ObjectChanged as error:
        raise ConflictError(
            f"another prune of {before.model!r} is running", hint="wait for its end; `orchard prune` shows what is left"
        ) from error


def _delete_marked(
    store: ObjectStore, marker: PruneMarker, etag: str | None, required: Callable[[], _RequiredBlobs]
) -> set[str]:
    """Delete the marked blobs that are still not needed, and empty the marker; returns the deleted ones."""
    deleted = set(marker.doomed) - required().blobs
    for name in sorted(deleted):
        store.delete(layout.blob(marker.model, name))
    _write_marker(store, marker, etag, ())
    return deleted


def prune(registry: ModelVersions, options: PruneOptions) -> PruneResult:
    """Delete the blobs that nothing can need any more, or report which they are.

    Raises:
        DataError: `options.keep` is less than 1.
        ConflictError: another prune is running, or was killed and `options.resume` is not set.
        IntegrityError: a manifest, a channel or a history that is needed is invalid: nothing more is deleted.
        StoreError: the store did not answer or refused.
    """
    if options.keep < 1:
        raise DataError(f"{options.keep} versions cannot be kept; expected at least 1")
    store, model = registry.store, registry.model

    def required() -> _RequiredBlobs:
        return _required(registry, options)

    marker, etag = read_prune_marker(store, model)
    if marker.doomed and options.delete:
        if not options.resume:
            raise ConflictError(
                f"another prune of {model!r} is deleting {len(marker.doomed)} blobs, or was killed while it did",
                hint="if no other prune runs: `orchard prune --delete --resume`",
            )
        _delete_marked(store, marker, etag, required)
    blobs = size = 0
    while True:
        current = required()
        surplus = _surplus(store, model, current)
        if not surplus or not options.delete:
            blobs += len(surplus)
            size += sum(stat.size for _, stat in surplus)
            return PruneResult(current.kept, current.held, blobs, size, deleted=options.delete)
        marker, etag = read_prune_marker(store, model)
        if marker.doomed:
            raise ConflictError(f"another prune of {model!r} began meanwhile", hint="wait for its end")
        batch = dict(surplus[:ROUND])
        deleted = _delete_marked(store, *_write_marker(store, marker, etag, sorted(batch)), required)
        blobs += len(deleted)
        size += sum(batch[name].size for name in deleted)
