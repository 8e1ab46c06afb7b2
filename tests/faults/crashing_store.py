"""A store that fails at one chosen call in one chosen way, around a store that works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar, get_args

from orchard.errors import StoreError, StoreUnavailable
from orchard.store.objects import ObjectBody, ObjectStat, ObjectStore

__all__ = ["FAULTS", "CrashingStore", "Fault", "Killed"]

T = TypeVar("T")

Fault = Literal["killed before", "killed after", "reply lost", "request lost", "retried by the client"]
"""What happens at the call: the process is killed before or after it; the reply or the request is lost; or the client
retried after a lost reply and reports the second reply (a conflict with its own write)."""

FAULTS: tuple[Fault, ...] = get_args(Fault)


class Killed(BaseException):
    """The process is killed here; no `except Exception` catches this."""


class CrashingStore(ObjectStore):
    """Counts its calls and fails at one of them.

    Args:
        inner: the store that works.
        at: the number of the call that fails, from 0; None: no call fails.
        fault: how it fails.
    """

    def __init__(self, inner: ObjectStore, at: int | None = None, fault: Fault = "killed before") -> None:
        self.inner = inner
        self.name = inner.name
        self.at = at
        self.fault = fault
        self.calls: list[str] = []

    def _do(self, name: str, call: Callable[[], T]) -> T:
        self.calls.append(name)
        if self.at != len(self.calls) - 1:
            return call()
        return fail(self.fault, call)

    def get(self, key: str) -> ObjectBody:
        return self._do(f"get {key}", lambda: self.inner.get(key))

    def get_if_changed(self, key: str, etag: str | None) -> ObjectBody | None:
        return self._do(f"get {key}", lambda: self.inner.get_if_changed(key, etag))

    def stream(self, key: str, chunk: int = 1 << 20) -> Iterator[bytes]:
        yield from self._do(f"stream {key}", lambda: list(self.inner.stream(key, chunk)))

    def put(self, key: str, body: bytes) -> str:
        return self._do(f"put {key}", lambda: self.inner.put(key, body))

    def put_file(self, key: str, path: Path, kind: str | None = None) -> str:
        return self._do(f"put_file {key}", lambda: self.inner.put_file(key, path, kind))

    def create(self, key: str, body: bytes, kind: str | None = None) -> str:
        return self._do(f"create {key}", lambda: self.inner.create(key, body, kind))

    def swap(self, key: str, body: bytes, etag: str | None) -> str:
        return self._do(f"swap {key}", lambda: self.inner.swap(key, body, etag))

    def head(self, key: str) -> ObjectStat:
        return self._do(f"head {key}", lambda: self.inner.head(key))

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectStat]:
        yield from self._do(f"list {prefix}", lambda: [*self.inner.list(prefix, after)])

    def delete(self, key: str) -> None:
        self._do(f"delete {key}", lambda: self.inner.delete(key))


def fail(fault: Fault, call: Callable[[], T]) -> T:
    """Let one call fail."""
    if fault == "killed before":
        raise Killed
    if fault == "request lost":
        raise StoreUnavailable("the store did not answer")
    if fault == "retried by the client":
        with suppress(StoreError):
            call()
        return call()
    with suppress(StoreError):
        call()
    if fault == "killed after":
        raise Killed
    raise StoreUnavailable("the store did not answer")
