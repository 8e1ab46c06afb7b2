"""The check of a store's conditional writes, before each publish.

Some S3 stores ignore the conditions, or did so in some version. Then two publishers would overwrite each other without an
error. So nothing is published to a store unless it refuses the writes that it must refuse, tested at this moment.
"""

from __future__ import annotations

import uuid

from orchard import layout
from orchard.documents import canonical_json
from orchard.errors import ObjectChanged, ObjectExists, StoreError
from orchard.store.conditional import create_once
from orchard.store.objects import ObjectBody, ObjectStore

__all__ = ["check_conditional_writes", "check_put_if_absent", "check_swap"]

OBJECTS = 16
"""The number of probe objects, so that simultaneous publishers seldom share one. They stay: publishers may not delete."""

RACES = 64
"""How many other publishers may swap the same object during one check; each of them swaps it once."""


def _failed(store: ObjectStore, what: str) -> StoreError:
    return StoreError(
        f"{store.name} {what}, so two publishers would overwrite each other: nothing may be published to it",
        hint="use a store with working conditional writes (SeaweedFS >= 4.17, AWS S3, R2, Ceph RGW, Google Cloud Storage, Azure)",
    )


def check_conditional_writes(store: ObjectStore, model: str, content: str = "00000000") -> None:
    """Check put-if-absent and compare-and-swap on one of the model's probe objects.

    Args:
        store: the store.
        model: the model's name.
        content: eight or more hexadecimal digits that select a probe object; a publisher passes its publish_id.

    Raises:
        StoreError: the store accepted a write that it had to refuse, or refused one that it had to accept.
    """
    key = layout.probe(model, int(content[:8], 16) % OBJECTS)
    check_swap(store, key, check_put_if_absent(store, key))


def check_put_if_absent(store: ObjectStore, key: str) -> ObjectBody:
    """Check that a store refuses to create an object that exists; return the object, which is created if there is none.

    Raises:
        StoreError: the store overwrote it.
    """
    current = create_once(store, key, canonical_json({"probe": uuid.uuid4().hex}))
    try:
        store.create(key, canonical_json({"probe": uuid.uuid4().hex}))
    except ObjectExists:
        return current
    raise _failed(store, "overwrote an existing object (put-if-absent is ignored)")


def check_swap(store: ObjectStore, key: str, current: ObjectBody) -> None:
    """Check that a store replaces an object that is as it was read, and none that has changed since.

    Args:
        store: the store.
        key: a probe object's, which other publishers may swap meanwhile.
        current: the object that was read under it.

    Raises:
        StoreError: the store overwrote an object that had changed, or did not replace one that had not.
    """
    for _ in range(RACES):
        own = canonical_json({"probe": uuid.uuid4().hex})
        try:
            store.swap(key, own, current.etag)
            break
        except ObjectChanged:  # another publisher uses the object at this moment, or our own reply was lost
            found = store.get(key)
            if found.body == own:
                break
            if found == current:
                raise _failed(store, "did not swap an object that nobody had changed") from None
            current = found
    else:
        raise _failed(store, f"did not swap an object in {RACES} attempts")
    try:
        store.swap(key, canonical_json({"probe": uuid.uuid4().hex}), current.etag)
    except ObjectChanged:
        return
    raise _failed(store, "overwrote an object that had changed (compare-and-swap is ignored)")
