"""The interface to the object store: any S3, Google Cloud Storage, Azure Blob Storage, or memory for unit tests.

The registry depends on conditional writes: `create` is put-if-absent, `swap` is compare-and-swap on the ETag (S3 and
Azure: `If-None-Match: *` and `If-Match`; Google: a condition on the object's generation). After a retry, the store may
report a conflict with the client's *own* successful write, because the first reply was lost. So callers use
`orchard.store.conditional`, which reads the object back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions as ob
from obstore.store import AzureStore, GCSStore, MemoryStore

from orchard.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    StoreDenied,
    StoreError,
)
from orchard.settings import Settings
from orchard.store.answers import StoreAnswer, printable
from orchard.store.clients import ObstoreClient, StoreClients
from orchard.store.clouds import S3, cloud_of
from orchard.store.failures import FailedRequest, answer_in

if TYPE_CHECKING:
    from obstore import UpdateVersion

__all__ = ["ObjectBody", "ObjectStat", "ObjectStore", "open_store"]

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """An object's key, size in bytes, ETag, and time of its last write by the store's clock."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class ObjectBody:
    """An object's bytes and their ETag."""

    body: bytes
    etag: str


_RIVALS = ("ConditionalRequestConflict", "OperationAborted")
"""S3's codes for a write that lost against another one in flight: nothing is known of the object."""

_NO_GENERATION = "1"
"""A generation that no object of Google has: they are microseconds since 1970."""

_UNEXPLAINED = (301, 307, 308, 400, 401, 403, 405)
"""The statuses of HEAD for which GET is sent too: an answer to HEAD has no body, so S3's code is missing."""


@contextmanager
def _translated(store: ObjectStore, key: str, *, conditional: bool = False) -> Iterator[None]:
    """Raise our errors instead of the client's.

    Args:
        store: the store.
        key: the key or folder of the request.
        conditional: it is a conditional write.
    """
    try:
        yield
    except (ob.BaseError, FileNotFoundError, TimeoutError, ConnectionError) as error:
        raise _translate(error, store, key, conditional=conditional) from error


def _translate(error: Exception, store: ObjectStore, key: str, *, conditional: bool) -> StoreError:
    text = str(error)
    if isinstance(error, ob.InvalidPathError):
        return StoreError(f"{store.name} refused {key!r}: {printable(text.partition(chr(10))[0])}")
    answer = answer_in(text)
    plain = answer is None or answer.is_about_object
    if plain and isinstance(error, ob.NotFoundError | FileNotFoundError):
        return ObjectNotFound(f"no object {key!r} in {store.name}")
    if plain and isinstance(error, ob.PreconditionError):
        return ObjectChanged(f"{key!r} in {store.name} is not the object that was read")
    if isinstance(error, ob.AlreadyExistsError) and conditional and _exists(answer, store):
        return ObjectExists(f"{key!r} exists already in {store.name}")
    return FailedRequest(f"for {key!r}", store.name, store.settings, conditional).explain(text)


def _exists(answer: StoreAnswer | None, store: ObjectStore) -> bool:
    """Whether an answer to put-if-absent, 409 or 412, says that there is an object."""
    if answer is None or answer.status == 412:
        return answer is None or answer.is_about_object
    if cloud_of(store.settings) is S3:
        return answer.code not in _RIVALS
    return answer.code == "BlobAlreadyExists"  # Azure's 409 has other reasons, such as a container being deleted


class ObjectStore:
    """Objects by key, in one bucket.

    Args:
        clients: an obstore store, or what returns it for documents and for large bodies, which have a longer timeout.
        name: the store's name in messages, for example ``s3://orchard at http://127.0.0.1:8333``.
        settings: the settings that name the store; None: it is in memory, or nobody's.

    Every method raises `StoreUnavailable` if the store cannot be reached after bounded retries, `StoreDenied` if it
    refuses the credentials, and `StoreError` if it refuses for another reason or is no such store. Their `code` has the cause.
    """

    settings: Settings | None = None

    def __init__(
        self,
        clients: ObstoreClient | Callable[[], tuple[ObstoreClient, ObstoreClient]],
        name: str,
        settings: Settings | None = None,
    ) -> None:
        self._clients: Callable[[], tuple[ObstoreClient, ObstoreClient]]
        self._clients = (lambda: (clients, clients)) if isinstance(clients, ObstoreClient) else clients
        self.name = name
        self.settings = settings
        self._is_s3 = False

    @property
    def _backend(self) -> ObstoreClient:
        return self._clients()[0]

    @property
    def _bulk(self) -> ObstoreClient:
        return self._clients()[1]

    def get(self, key: str) -> ObjectBody:
        """Return the object under `key`. Raises `ObjectNotFound`."""
        with _translated(self, key):
            result = obstore.get(self._backend, key)
            return ObjectBody(bytes(result.bytes()), self._tag(result.meta, key))

    def _tag(self, meta: Mapping[str, Any], key: str) -> str:
        """Return the ETag of an answer. S3 sends one with each object; a log-in page of a proxy has none."""
        if meta["e_tag"] is None:
            request = FailedRequest(f"for {key!r}", self.name, self.settings)
            raise request.not_s3("a success without an ETag, as of a web page")
        return str(meta["e_tag"])

    def get_if_changed(self, key: str, etag: str | None) -> ObjectBody | None:
        """Return the object under `key`, or None if its ETag is still `etag` (then no body is sent). Raises `ObjectNotFound`."""
        if etag is None:
            return self.get(key)
        with _translated(self, key):
            try:
                result = obstore.get(self._backend, key, options={"if_none_match": etag})
            except ob.NotModifiedError:
                return None
            return ObjectBody(bytes(result.bytes()), self._tag(result.meta, key))

    def stream(self, key: str, chunk: int = CHUNK) -> Iterator[bytes]:
        """Yield the object's bytes in pieces of about `chunk` bytes. Raises `ObjectNotFound`."""
        with _translated(self, key):
            result = obstore.get(self._bulk, key)
            self._tag(result.meta, key)
            for piece in result.stream(min_chunk_size=chunk):
                yield bytes(piece)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes of the object from `start`; fewer where it ends before. Raises `ObjectNotFound`."""
        with _translated(self, key):
            return bytes(obstore.get_range(self._bulk, key, start=start, length=length))

    def put(self, key: str, body: bytes) -> str:
        """Write `body` under `key`, replacing any object; return its ETag. Only for objects that all writers write alike."""
        with _translated(self, key):
            return str(obstore.put(self._backend, key, body, use_multipart=False)["e_tag"])

    def put_file(self, key: str, path: Path, kind: str | None = None) -> str:
        """Write a file's bytes under `key` (large files in parts); return the ETag. Never for a commit: see `create`.

        Args:
            key: the key.
            path: the file.
            kind: its media type for browsers, for example ``text/html``.
        """
        attributes: dict[str, str] | None = {"Content-Type": kind} if kind else None
        with _translated(self, key):
            return str(obstore.put(self._bulk, key, path, attributes=attributes)["e_tag"])

    def create(self, key: str, body: bytes, kind: str | None = None) -> str:
        """Write `body` under `key` if no object exists: exactly one of many racing callers wins. One request, never in parts.

        Args:
            key: the key.
            body: the object's bytes.
            kind: its media type for browsers, as of `put_file`.

        Returns:
            The new object's ETag.

        Raises:
            ObjectExists: an object exists; it may be this caller's own write whose reply was lost.
        """
        with _translated(self, key, conditional=True):
            options: dict[str, Any] = {"attributes": {"Content-Type": kind}} if kind else {}
            return str(obstore.put(self._backend, key, body, mode="create", use_multipart=False, **options)["e_tag"])

    def swap(self, key: str, body: bytes, etag: str | None) -> str:
        """Replace the object under `key` if its ETag is `etag` (None: if it is absent); return the new ETag.

        Raises:
            ObjectChanged: another object exists, or none; it may be this caller's own write whose reply was lost.
        """
        if etag is None:
            try:
                return self.create(key, body)
            except ObjectExists as error:
                raise ObjectChanged(f"{key!r} in {self.name} exists already; expected no object") from error
        with _translated(self, key, conditional=True):
            try:
                result = obstore.put(self._backend, key, body, mode=self._version(key, etag), use_multipart=False)
            except (ob.NotFoundError, FileNotFoundError) as error:  # AWS answers 404, SeaweedFS 412
                raise ObjectChanged(f"{key!r} in {self.name} was deleted") from error
            return str(result["e_tag"])

    def _version(self, key: str, etag: str) -> UpdateVersion:
        """Return the condition of a swap. Google has none on an ETag, so it is on the generation that has this ETag now.

        If none has, the condition is on a generation that never is: the store itself refuses the write.
        """
        if not isinstance(self._backend, GCSStore):
            return {"e_tag": etag}
        try:
            meta = self._head(key)
        except ObjectNotFound:
            return {"version": _NO_GENERATION}
        return {"version": str(meta["version"]) if meta["e_tag"] == etag else _NO_GENERATION}

    def _head(self, key: str) -> Mapping[str, Any]:
        with _translated(self, key):
            try:
                return obstore.head(self._backend, key)
            except ob.BaseError as error:
                answer = answer_in(str(error))
                if answer is not None and answer.empty and answer.status in _UNEXPLAINED:
                    obstore.get_range(self._backend, key, start=0, length=1)  # raises the same error, with its code
                raise

    def head(self, key: str) -> ObjectStat:
        """Return the object's metadata. Raises `ObjectNotFound`."""
        meta = self._head(key)
        return ObjectStat(key, int(meta["size"]), self._tag(meta, key), meta["last_modified"])

    def exists(self, key: str) -> bool:
        """Whether there is an object under `key`."""
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectStat]:
        """Yield the objects under `prefix` (a folder, without its closing slash), by key; only keys greater than `after`."""
        with _translated(self, prefix):
            empty, azure = True, isinstance(self._backend, AzureStore)
            for page in obstore.list(self._backend, prefix, offset=None if azure else after):
                for meta in sorted(page, key=lambda item: item["path"]):
                    empty, path, etag = False, str(meta["path"]), str(meta["e_tag"])
                    if azure:  # its `startFrom` is not everywhere, and its lists have ETags without their quotes
                        if after is not None and path <= after:
                            continue
                        etag = f'"{etag.strip(chr(34))}"'
                    yield ObjectStat(path, int(meta["size"]), etag, meta["last_modified"])
        if empty and not self._is_s3:  # the client reads a web page as an empty list
            with suppress(ObjectNotFound, StoreDenied):
                self.head(prefix)
            self._is_s3 = True

    def delete(self, key: str) -> None:
        """Delete the object under `key`, if there is one."""
        try:
            with _translated(self, key):
                obstore.delete(self._backend, key)
        except ObjectNotFound:
            return


def open_store(settings: Settings) -> ObjectStore:
    """Open the store that the settings name; no request is made yet.

    Raises:
        SettingsError: ORCHARD_STORE_URL is not set, or the file of the credentials or of the authorities is invalid.
    """
    settings.require("store_url")
    url = str(settings.store_url)
    if url == "memory://":
        return ObjectStore(MemoryStore(), url)
    where = f" at {settings.store_endpoint}" if settings.store_endpoint else ""
    return ObjectStore(StoreClients(settings).current, f"{url}{where}", settings)
