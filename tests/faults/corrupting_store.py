"""A store between which and its reader bytes are changed for a while; its ETags stay true."""

from __future__ import annotations

from collections.abc import Iterator

from orchard.store.objects import ObjectBody, ObjectStore
from tests.faults.crashing_store import CrashingStore

__all__ = ["CorruptingStore"]


class CorruptingStore(CrashingStore):
    """Changes the last byte of every body while `corrupt` is true."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.corrupt = False

    def _changed(self, body: bytes) -> bytes:
        return body[:-1] + bytes([body[-1] ^ 1]) if self.corrupt and body else body

    def get(self, key: str) -> ObjectBody:
        found = super().get(key)
        return ObjectBody(self._changed(found.body), found.etag)

    def get_if_changed(self, key: str, etag: str | None) -> ObjectBody | None:
        found = super().get_if_changed(key, etag)
        return found and ObjectBody(self._changed(found.body), found.etag)

    def stream(self, key: str, chunk: int = 1 << 20) -> Iterator[bytes]:
        yield from map(self._changed, super().stream(key, chunk))
