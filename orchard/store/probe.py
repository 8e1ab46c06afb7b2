"""A publisher's first question to a store: are your conditional writes what they claim to be?

Some S3 stores ignore the conditions, or did in some version, and then two publishers overwrite each other without a
word. So nothing is published to a store that does not prove, now and here, that it refuses what it must refuse.
"""

from __future__ import annotations

import uuid

from orchard import layout
from orchard.documents import canonical_json
from orchard.errors import ObjectChanged, ObjectExists, StoreError
from orchard.store.conditional import create_once
from orchard.store.objects import ObjectStore

__all__ = ["prove"]

OBJECTS = 16
"""Objects to choose from, so that publishers at the same moment seldom meet; they stay, for publishers may not delete."""

RACES = 64
"""Probers that may swap the same object at the same moment before one of them gives up; each of them swaps it once."""


def _refuse(store: ObjectStore, what: str) -> StoreError:
    return StoreError(
        f"{store.name} {what}, so it cannot tell two publishers apart; nothing was published",
        hint="use a store with working conditional writes (SeaweedFS >= 4.17, AWS S3, R2, Ceph RGW)",
    )


def prove(store: ObjectStore, model: str, content: str = "00000000") -> None:
    """Prove put-if-absent and compare-and-swap on an object of the model that is there for nothing else.

    Args:
        store: the store in question.
        model: the model's name.
        content: eight or more hexadecimal digits that choose one of a few such objects; a publisher gives its publish_id.

    Raises:
        StoreError: the store overwrote where it had to refuse, or refused where it had to write.
    """
    key = layout.probe(model, int(content[:8], 16) % OBJECTS)
    first = canonical_json({"probe": uuid.uuid4().hex})
    stood = create_once(store, key, first)
    try:
        store.create(key, canonical_json({"probe": uuid.uuid4().hex}))
    except ObjectExists:
        pass
    else:
        raise _refuse(store, "overwrote an object that was there (put-if-absent is ignored)")
    for _ in range(RACES):
        mine = canonical_json({"probe": uuid.uuid4().hex})
        try:
            store.swap(key, mine, stood.etag)
            break
        except ObjectChanged:  # another publisher probes at this moment, or our own reply was lost
            now = store.get(key)
            if now.body == mine:
                break
            if now == stood:
                raise _refuse(store, "did not swap an object that nobody had changed") from None
            stood = now
    else:
        raise _refuse(store, f"did not swap an object in {RACES} tries")
    try:
        store.swap(key, canonical_json({"probe": uuid.uuid4().hex}), stood.etag)
    except ObjectChanged:
        return
    raise _refuse(store, "overwrote an object that had changed (compare-and-swap is ignored)")
