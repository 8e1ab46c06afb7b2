"""Conditional writes with a known outcome, even if the reply is lost.

When a client retries a write, the store may report a conflict with the client's own first attempt, and after a timeout
the outcome is unknown. So the object is read back after every conflict and every timeout: its content decides.
"""

from __future__ import annotations

from orchard.errors import ObjectChanged, ObjectExists, ObjectNotFound, StoreUnavailable
from orchard.store.objects import ObjectBody, ObjectStore

__all__ = ["create_once", "get_or_none", "swap_once"]

ATTEMPTS = 3
"""How often a write is sent if the store does not answer and the write did not arrive (each send also retries itself)."""


def get_or_none(store: ObjectStore, key: str) -> ObjectBody | None:
    """Return the object under `key`, or None if there is none."""
    try:
        return store.get(key)
    except ObjectNotFound:
        return None


def create_once(store: ObjectStore, key: str, body: bytes, kind: str | None = None) -> ObjectBody:
    """Write `body` under `key` unless an object exists there, and return the object that is there afterwards.

    `kind` is its media type for browsers, as of `ObjectStore.create`.

    The caller compares: an equal body (or an equal identity in it) is its own write, or the same write of another
    program.

    Raises:
        StoreUnavailable: the store answers neither writes nor reads. Whether `body` was written is unknown; repeat the
            call.
    """
    for attempt in range(ATTEMPTS):
        try:
            return ObjectBody(body, store.create(key, body, kind))
        except ObjectExists:
            return store.get(key)
        except StoreUnavailable:
            stored = get_or_none(store, key)
            if stored is not None:
                return stored
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def swap_once(store: ObjectStore, key: str, body: bytes, etag: str | None) -> ObjectBody:
    """Replace the object under `key` that has `etag` (None: no object) by `body`, and return what was written.

    `body` must contain its position in the order of changes (a generation, a version), so that equal bytes are the same
    change and never an older one.

    Raises:
        ObjectChanged: the object is not the one that the caller read, and not `body`.
        StoreUnavailable: as in `create_once`.
    """
    for attempt in range(ATTEMPTS):
        try:
            return ObjectBody(body, store.swap(key, body, etag))
        except (ObjectChanged, StoreUnavailable) as error:
            stored = get_or_none(store, key)
            if stored is not None and stored.body == body:
                return stored
            if isinstance(error, ObjectChanged) or attempt == ATTEMPTS - 1:
                raise
            if (stored.etag if stored else None) != etag:
                raise ObjectChanged(f"{key!r} in {store.name} was changed by somebody else meanwhile") from error
    raise AssertionError("unreachable")
