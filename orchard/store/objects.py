"""The interface to the object store: any S3, or memory for unit tests.

The registry depends on conditional writes: `create` is put-if-absent, `swap` is compare-and-swap on the ETag (S3:
`If-None-Match: *` and `If-Match`). After a retry, the store may report a conflict with the client's *own* successful
write, because the first reply was lost. So callers use `orchard.store.conditional`, which reads the object back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions as ob
from obstore.store import MemoryStore, S3Store

from orchard.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    OrchardError,
    SettingsError,
    StoreDenied,
    StoreError,
)
from orchard.files import WatchedFile
from orchard.settings import Settings
from orchard.store.answers import printable
from orchard.store.authorities import authority_file, read_authorities
from orchard.store.credentials import check_environment, credential_provider
from orchard.store.failures import FailedRequest, answer_in
from orchard.store.reachability import direct_options

__all__ = ["ObjectBody", "ObjectStat", "ObjectStore", "bucket_of", "open_store"]

CONNECT_SECONDS = 5
READ_SECONDS = 20
"""The longest time without a byte. SeaweedFS lets the losers of a race for one key wait for some seconds."""

RETRY_SECONDS = 35
"""No retry begins after this time, so that a call for a document ends within a minute."""

DOCUMENT_SECONDS = 25
"""The longest time of one request for a document, even if bytes arrive."""

BODY_SECONDS = 600
"""The longest time of one request of `stream` and of `put_file`, whose bodies may be large."""

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
    plain = answer is None or answer.status == 412 or (answer.is_s3 and answer.code in ("", "NoSuchKey"))
    if plain and isinstance(error, ob.NotFoundError | FileNotFoundError):
        return ObjectNotFound(f"no object {key!r} in {store.name}")
    if plain and isinstance(error, ob.PreconditionError):
        return ObjectChanged(f"{key!r} in {store.name} is not the object that was read")
    if isinstance(error, ob.AlreadyExistsError) and conditional and (answer is None or answer.code not in _RIVALS):
        return ObjectExists(f"{key!r} exists already in {store.name}")
    return FailedRequest(f"for {key!r}", store.name, store.settings, conditional).explain(text)


class ObjectStore:
    """Objects by key, in one bucket.

    Args:
        clients: an obstore store, or what returns it for documents and for large bodies, which have a longer timeout.
        name: the store's name in messages, for example ``s3://orchard at http://127.0.0.1:8333``.
        settings: the settings that name the store; None: it is in memory, or nobody's.

    Every method raises `StoreUnavailable` if the store cannot be reached after bounded retries, `StoreDenied` if it
    refuses the credentials, and `StoreError` if it refuses for another reason or is no S3. Their `code` has the cause.
    """

    settings: Settings | None = None

    def __init__(
        self,
        clients: S3Store | MemoryStore | Callable[[], tuple[S3Store, S3Store]],
        name: str,
        settings: Settings | None = None,
    ) -> None:
        self._clients: Callable[[], tuple[S3Store | MemoryStore, S3Store | MemoryStore]]
        if isinstance(clients, S3Store | MemoryStore):
            self._clients = lambda: (clients, clients)
        else:
            self._clients = clients
        self.name = name
        self.settings = settings
        self._is_s3 = False

    @property
    def _backend(self) -> S3Store | MemoryStore:
        return self._clients()[0]

    @property
    def _bulk(self) -> S3Store | MemoryStore:
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
                result = obstore.put(self._backend, key, body, mode={"e_tag": etag}, use_multipart=False)
            except (ob.NotFoundError, FileNotFoundError) as error:  # AWS answers 404, SeaweedFS 412
                raise ObjectChanged(f"{key!r} in {self.name} was deleted") from error
            return str(result["e_tag"])

    def head(self, key: str) -> ObjectStat:
        """Return the object's metadata. Raises `ObjectNotFound`."""
        with _translated(self, key):
            try:
                meta = obstore.head(self._backend, key)
            except ob.BaseError as error:
                answer = answer_in(str(error))
                if answer is not None and answer.empty and answer.status in _UNEXPLAINED:
                    obstore.get_range(self._backend, key, start=0, length=1)  # raises the same error, with S3's code
                raise
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
            empty = True
            for page in obstore.list(self._backend, prefix, offset=after):
                for meta in sorted(page, key=lambda item: item["path"]):
                    empty = False
                    yield ObjectStat(str(meta["path"]), int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])
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


def bucket_of(settings: Settings) -> str:
    """Return the name of the settings' bucket."""
    return str(settings.store_url).removeprefix("s3://").rstrip("/")


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
    return ObjectStore(_Clients(settings).current, f"{url}{where}", settings)


class _Clients:
    """The clients of a settings' store. After a change of the file of authorities, they are made anew.

    A request in flight keeps its client.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._options = _options(settings)
        self._file = authority_file(settings)
        self._authorities: WatchedFile[bytes] | None = None
        if (file := self._file) is not None:
            self._authorities = WatchedFile(file.path, lambda path: read_authorities(file))
        self._made = self._make(self._authorities.current() if self._authorities else None)

    def current(self) -> tuple[S3Store, S3Store]:
        """Return the client for documents and the one for large bodies."""
        authorities = self._authorities.current() if self._authorities else None
        if authorities is not self._made[0]:
            with suppress(OrchardError):
                self._made = self._make(authorities)
        return self._made[1]

    def _make(self, authorities: bytes | None) -> tuple[bytes | None, tuple[S3Store, S3Store]]:
        extra = {} if authorities is None else {"root_certificate": authorities}
        bucket, clients = bucket_of(self._settings), []
        for seconds in (DOCUMENT_SECONDS, BODY_SECONDS):
            options = {**self._options["client_options"], **extra, "timeout": f"{seconds}s"}
            try:
                clients.append(S3Store(bucket, **{**self._options, "client_options": options}))
            except (ob.BaseError, ValueError) as error:
                source = f"{self._file.variable}: {self._file.path}" if self._file else "the settings of the store"
                raise SettingsError(
                    f"{source} cannot be used: {printable(str(error).partition(chr(10))[0])}"
                ) from error
        return authorities, (clients[0], clients[1])


def _options(settings: Settings) -> dict[str, Any]:
    """Return the client's options, without its timeout and authorities."""
    endpoint = settings.store_endpoint
    options: dict[str, Any] = {
        "region": settings.store_region,
        "virtual_hosted_style_request": endpoint is None,
        "client_options": {
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "read_timeout": f"{READ_SECONDS}s",
            "allow_http": endpoint is None or endpoint.startswith("http://"),
            **direct_options(endpoint),
        },
        "retry_config": {
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    }
    if endpoint is not None:
        options["endpoint"] = endpoint
    if settings.store_credentials_file is None:
        check_environment()
    else:
        provider = credential_provider(settings.store_credentials_file, settings.store_profile)
        options["credential_provider"] = provider  # an invalid file was an error now, not at the first request
    return options
