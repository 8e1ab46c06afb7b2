"""Who is about to rely on blobs, and what a prune is about to delete: neither ever misses the other.

A publisher that finds a blob in the store does not send it again, and a promoter proves blobs before the channel moves.
A prune between the look and the commit would take away what was just found. So each side writes before it looks: who
relies on blobs puts a *hold* there and then reads the prune's *mark*; a prune writes its mark and then reads the holds,
and after them the channels and versions. Whatever the order, at least one of the two sees the other: the prune spares
what is held, and who needs a marked blob is told to come back. No clock decides.

A hold of a change of channel is over as soon as the channel has reached the generation that it names, for then no swap
of it can succeed any more. The hold of a publish is emptied after its commit. One that was killed holds on until the
same publish is run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from orchard import layout
from orchard.documents import FORMAT, STRICT, canonical_json, decode, encode, parse
from orchard.errors import ConflictError
from orchard.store.conditional import get_or_none
from orchard.store.objects import ObjectStore

__all__ = ["Lease", "PruneMarker", "hold_change", "hold_publish", "holds", "read_mark", "release_publish"]


@dataclass(frozen=True, slots=True)
class Lease:
    """What somebody relies on.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        channel: the channel that is being changed, None for a publish.
        generation: the generation that the channel gets, None for a publish.
        blobs: SHA-256 of the blobs.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    model: str
    channel: str | None
    generation: int | None
    blobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PruneMarker:
    """What a prune is deleting.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        turn: 1, 2, 3 …: how often it was written.
        doomed: SHA-256 of the blobs; empty: no prune is at work.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    model: str
    turn: int
    doomed: tuple[str, ...]


def read_mark(store: ObjectStore, model: str) -> tuple[PruneMarker, str | None]:
    """Return what a prune is deleting now, and the mark's ETag (None: there was never one)."""
    key = layout.pruning(model)
    found = get_or_none(store, key)
    if found is None:
        return PruneMarker(FORMAT, model, 0, ()), None
    return decode(PruneMarker, parse(found.body, key), key), found.etag


def _hold(store: ObjectStore, key: str, hold: Lease) -> None:
    store.put(key, canonical_json(encode(hold)))
    mark, _ = read_mark(store, hold.model)
    marked = set(mark.doomed) & set(hold.blobs)
    if marked:
        raise ConflictError(
            f"a prune of {hold.model!r} is deleting {len(marked)} of the {len(hold.blobs)} blobs that this needs",
            hint="run the same command again when it has ended; `orchard prune --delete --resume` ends one that was killed",
        )


def hold_publish(store: ObjectStore, model: str, identity: str, blobs: Iterable[str]) -> None:
    """Say that the publish of a content relies on blobs, before looking whether they are there.

    Raises:
        ConflictError: a prune is deleting some of them.
    """
    hold = Lease(FORMAT, model, None, None, tuple(sorted(set(blobs))))
    _hold(store, layout.publish_hold(model, identity), hold)


def release_publish(store: ObjectStore, model: str, identity: str) -> None:
    """Say that the content's version is committed: from now on it is kept for being a version, or not at all."""
    store.put(layout.publish_hold(model, identity), b"")


def hold_change(
    store: ObjectStore, model: str, channel: str, generation: int, version: int, blobs: Iterable[str]
) -> None:
    """Say that a channel is about to mean a version, before that version's blobs are proved.

    Raises:
        ConflictError: a prune is deleting some of them.
    """
    hold = Lease(FORMAT, model, channel, generation, tuple(sorted(set(blobs))))
    _hold(store, layout.change_hold(model, channel, generation, version), hold)


def holds(store: ObjectStore, model: str) -> Iterator[tuple[str, Lease]]:
    """Yield every hold that is not released, with its key."""
    for stat in store.list(layout.holds(model)):
        found = get_or_none(store, stat.key) if stat.size else None
        if found is not None and found.body:
            yield stat.key, decode(Lease, parse(found.body, stat.key), stat.key)
