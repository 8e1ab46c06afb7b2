"""Conditional writes whose outcome is known afterwards, whatever happened to the reply.

A client that retries may be told that somebody else was first when it was its own first try that won, and a timeout
says nothing at all. So after every conflict and every silence the object is read back: what stands there decides.
"""

from __future__ import annotations

from orchard.errors import ObjectChanged, ObjectExists, ObjectNotFound, StoreUnavailable
from orchard.store.objects import ObjectBody, ObjectStore

__all__ = ["create_once", "get_or_none", "swap_once"]

TRIES = 3
"""How often a write is sent that the store did not answer and that did not arrive (each send retries by itself too)."""


def get_or_none(store: ObjectStore, key: str) -> ObjectBody | None:
    """Return the object under `key`, or None if there is none."""
    try:
        return store.get(key)
    except ObjectNotFound:
        return None


def create_once(store: ObjectStore, key: str, body: bytes) -> ObjectBody:
    """Write `body` under `key` unless something is there, and return what stands there afterwards.

    The caller compares: an equal body (or an equal identity inside it) means that its own write won, or that somebody
    wrote the same.

    Raises:
        StoreUnavailable: the store answers neither writes nor reads; whether `body` was written is unknown, and the
            same call again finds out.
    """
    for attempt in range(TRIES):
        try:
            return ObjectBody(body, store.create(key, body))
        except ObjectExists:
            return store.get(key)
        except StoreUnavailable:
            found = get_or_none(store, key)
            if found is not None:
                return found
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def swap_once(store: ObjectStore, key: str, body: bytes, etag: str | None) -> ObjectBody:
    """Replace the object that had `etag` (None: none) under `key` by `body`, and return what was written.

    `body` must name its place in the order of changes (a generation, a version), so that equal bytes mean the same
    change and never an older one.

    Raises:
        ObjectChanged: something else stands there than the caller read, and it is not `body`.
        StoreUnavailable: as in `create_once`.
    """
    for attempt in range(TRIES):
        try:
            return ObjectBody(body, store.swap(key, body, etag))
        except (ObjectChanged, StoreUnavailable) as error:
            found = get_or_none(store, key)
            if found is not None and found.body == body:
                return found
            if isinstance(error, ObjectChanged) or attempt == TRIES - 1:
                raise
            if (found.etag if found else None) != etag:
                raise ObjectChanged(f"{key!r} in {store.name} was changed by somebody else meanwhile") from error
    raise AssertionError("unreachable")
