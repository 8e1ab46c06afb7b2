"""An object as a file that is read in parts, for readers of formats such as Parquet, whose index is at the end."""

from __future__ import annotations

import io
from typing import Any

from orchard.store.objects import ObjectStat, ObjectStore

__all__ = ["ObjectFile"]

_TAIL = 64 << 10
"""The bytes of the end that come with the first request."""


class ObjectFile(io.RawIOBase):
    """A file to read and to seek in; each read beyond the end's bytes is a request.

    Args:
        store: the store.
        stat: the object.
    """

    def __init__(self, store: ObjectStore, stat: ObjectStat) -> None:
        self._store = store
        self._stat = stat
        self._at = 0
        self._tail_start = max(0, stat.size - _TAIL)
        self._tail: bytes | None = None

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether it has places: always."""
        return True

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the begin, the current place or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stat.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the object goes; returns the number of bytes. Raises `StoreError`."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), self._stat.size - self._at)
        if length <= 0:
            return 0
        view[:length] = self._bytes(self._at, length)
        self._at += length
        return length

    def _bytes(self, start: int, length: int) -> bytes:
        if start < self._tail_start:
            return self._store.read_range(self._stat.key, start, length)
        if self._tail is None:
            self._tail = self._store.read_range(self._stat.key, self._tail_start, self._stat.size - self._tail_start)
        return self._tail[start - self._tail_start :][:length]
