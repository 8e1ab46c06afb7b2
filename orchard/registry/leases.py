"""Leases on blobs, and the marker of a prune: a publish or a promotion and a prune never miss each other.

A publish does not send a blob again that is in the store, and a promotion verifies blobs before the channel moves. A
prune between the check and the commit would delete what was just found. So each side writes before it reads:

- A publish or a promotion writes a *lease* that names its blobs, and then reads the prune marker.
- A prune writes its *marker*, and then reads the leases, and after them the channels and versions.

Whatever the order, at least one of the two sees the other. The prune keeps blobs that have a lease; whoever needs a
marked blob gets a `ConflictError` and has to repeat the command. No clock is involved.

The lease of a channel change expires when the channel has reached the generation that the lease names: no swap of that
change can succeed any more. The lease of a publish is emptied after the commit. If the publish was killed, its lease
stays until the same publish is run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchard import layout
from orchard.documents import FORMAT, canonical_json, decode, encode, parse, strict_dataclass
from orchard.errors import ConflictError
from orchard.store.conditional import get_or_none
from orchard.store.objects import ObjectStore

__all__ = [
    "Lease",
    "PruneMarker",
    "lease_change",
    "lease_publish",
    "read_leases",
    "read_prune_marker",
    "release_publish",
]


@strict_dataclass
class Lease:
    """Blobs that a publish or a channel change relies on.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        channel: the channel that is being changed, None for a publish.
        generation: the generation that the channel gets, None for a publish.
        blobs: SHA-256 of the blobs.
    """

    format: int
    model: str
    channel: str | None
    generation: int | None
    blobs: tuple[str, ...]


@strict_dataclass
class PruneMarker:
    """Blobs that a prune is deleting.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        turn: 1, 2, 3 …: how often it was written.
        doomed: SHA-256 of the blobs; empty: no prune is running.
    """

    format: int
    model: str
    turn: int
    doomed: tuple[str, ...]


def read_prune_marker(store: ObjectStore, model: str) -> tuple[PruneMarker, str | None]:
    """Return the prune marker and its ETag (None: no prune has ever run)."""
    key = layout.prune_marker(model)
    stored = get_or_none(store, key)
    if stored is None:
        return PruneMarker(FORMAT, model, 0, ()), None
    return decode(PruneMarker, parse(stored.body, key), key), stored.etag


def _write_lease(store: ObjectStore, key: str, lease: Lease) -> None:
    store.put(key, canonical_json(encode(lease)))
    marker, _ = read_prune_marker(store, lease.model)
    doomed = set(marker.doomed) & set(lease.blobs)
    if doomed:
        raise ConflictError(
            f"a prune of {lease.model!r} is deleting {len(doomed)} of the {len(lease.blobs)} blobs that this needs",
            hint="run the same command again after the prune; `orchard prune --delete --resume` ends one that was killed",
        )


def lease_publish(store: ObjectStore, model: str, identity: str, blobs: Iterable[str]) -> None:
    """Write the lease of a publish, before it is checked which blobs are in the store.

    Raises:
        ConflictError: a prune is deleting some of them.
    """
    lease = Lease(FORMAT, model, None, None, tuple(sorted(set(blobs))))
    _write_lease(store, layout.publish_lease(model, identity), lease)


def release_publish(store: ObjectStore, model: str, identity: str) -> None:
    """Empty the lease of a publish after its commit: from now on the version decides whether its blobs are kept."""
    store.put(layout.publish_lease(model, identity), b"")


def lease_change(
    store: ObjectStore, model: str, channel: str, generation: int, version: int, blobs: Iterable[str]
) -> None:
    """Write the lease of a channel change, before the version's blobs are verified.

    Raises:
        ConflictError: a prune is deleting some of them.
    """
    lease = Lease(FORMAT, model, channel, generation, tuple(sorted(set(blobs))))
    _write_lease(store, layout.change_lease(model, channel, generation, version), lease)


def read_leases(store: ObjectStore, model: str) -> Iterator[tuple[str, Lease]]:
    """Yield every lease that is not released, with its key."""
    for stat in store.list(layout.leases(model)):
        stored = get_or_none(store, stat.key) if stat.size else None
        if stored is not None and stored.body:
            yield stat.key, decode(Lease, parse(stored.body, stat.key), stat.key)
