"""The interface to the object store: any S3, or memory for unit tests.

The registry depends on conditional writes: `create` is put-if-absent, `swap` is compare-and-swap on the ETag (S3:
`If-None-Match: *` and `If-Match`). After a retry, the store may report a conflict with the client's *own* successful
write, because the first reply was lost. So callers use `orchard.store.conditional`, which reads the object back.
"""

from __future__ import annotations

import configparser
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions as ob
from obstore.store import MemoryStore, S3Store

from orchard.errors import (
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    SettingsError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from orchard.files import WatchedFile
from orchard.settings import Settings

__all__ = ["ObjectBody", "ObjectStat", "ObjectStore", "bucket_of", "open_store", "read_credentials"]

_LOG = logging.getLogger(__name__)

CREDENTIALS_TTL = timedelta(seconds=20)
"""How long credentials are used before their file is read again: a rotated key is in use after this time."""

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


@contextmanager
def _translated(key: str, store: str) -> Iterator[None]:
    try:
        yield
    except (ob.NotFoundError, FileNotFoundError) as error:
        if "NoSuchBucket" in str(error):
            raise _no_bucket(store) from error
        raise ObjectNotFound(f"no object {key!r} in {store}") from error
    except ob.AlreadyExistsError as error:
        raise ObjectExists(f"{key!r} exists already in {store}") from error
    except ob.PreconditionError as error:
        raise ObjectChanged(f"{key!r} in {store} is not the object that was read") from error
    except (ob.PermissionDeniedError, ob.UnauthenticatedError) as error:
        raise _denied(key, store) from error
    except (ob.GenericError, ob.JoinError, TimeoutError, ConnectionError) as error:
        text = str(error)  # obstore has no error classes for these in lists
        if "status code: 403" in text or "status code: 401" in text:
            raise _denied(key, store) from error
        if "NoSuchBucket" in text:
            raise _no_bucket(store) from error
        if "status code: 5" in text:
            raise StoreUnavailable(
                f"{store} answers, but fails at {key!r}: {_first_line(error)}",
                hint="is its disk full? see its log (the embedded store's: .orchard/store/log)",
            ) from error
        raise StoreUnavailable(
            f"{store} did not answer for {key!r}: {_first_line(error)}",
            hint="is the store running and ORCHARD_STORE_ENDPOINT right? check with `orchard store status`",
        ) from error
    except ob.BaseError as error:
        raise StoreError(f"{store} refused {key!r}: {_first_line(error)}") from error


def _denied(key: str, store: str) -> StoreDenied:
    return StoreDenied(
        f"{store} refused the credentials for {key!r}",
        hint="check ORCHARD_STORE_CREDENTIALS_FILE, its profile, and the rights of that key",
    )


def _no_bucket(store: str) -> StoreError:
    return StoreError(f"the bucket does not exist: {store}", hint="create it, or set ORCHARD_STORE_URL to another one")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


class ObjectStore:
    """Objects by key, in one bucket.

    Args:
        backend: an obstore store.
        name: the store's name in messages, for example ``s3://orchard at http://127.0.0.1:8333``.
        bulk: the same store with longer timeouts, for large bodies; None: `backend`.
        settings: the settings that name the store; None: it is in memory.

    Every method raises `StoreUnavailable` if the store cannot be reached after bounded retries, and `StoreDenied` if it
    refuses the credentials.
    """

    settings: Settings | None = None

    def __init__(
        self,
        backend: S3Store | MemoryStore,
        name: str,
        bulk: S3Store | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._backend = backend
        self._bulk = bulk or backend
        self.name = name
        self.settings = settings

    def get(self, key: str) -> ObjectBody:
        """Return the object under `key`. Raises `ObjectNotFound`."""
        with _translated(key, self.name):
            result = obstore.get(self._backend, key)
            return ObjectBody(bytes(result.bytes()), str(result.meta["e_tag"]))

    def get_if_changed(self, key: str, etag: str | None) -> ObjectBody | None:
        """Return the object under `key`, or None if its ETag is still `etag` (then no body is sent). Raises `ObjectNotFound`."""
        if etag is None:
            return self.get(key)
        with _translated(key, self.name):
            try:
                result = obstore.get(self._backend, key, options={"if_none_match": etag})
            except ob.NotModifiedError:
                return None
            return ObjectBody(bytes(result.bytes()), str(result.meta["e_tag"]))

    def stream(self, key: str, chunk: int = CHUNK) -> Iterator[bytes]:
        """Yield the object's bytes in pieces of about `chunk` bytes. Raises `ObjectNotFound`."""
        with _translated(key, self.name):
            for piece in obstore.get(self._bulk, key).stream(min_chunk_size=chunk):
                yield bytes(piece)

    def put(self, key: str, body: bytes) -> str:
        """Write `body` under `key`, replacing any object; return its ETag. Only for objects that all writers write alike."""
        with _translated(key, self.name):
            return str(obstore.put(self._backend, key, body, use_multipart=False)["e_tag"])

    def put_file(self, key: str, path: Path, kind: str | None = None) -> str:
        """Write a file's bytes under `key` (large files in parts); return the ETag. Never for a commit: see `create`.

        Args:
            key: the key.
            path: the file.
            kind: its media type for browsers, for example ``text/html``.
        """
        attributes: dict[str, str] | None = {"Content-Type": kind} if kind else None
        with _translated(key, self.name):
            return str(obstore.put(self._bulk, key, path, attributes=attributes)["e_tag"])

    def create(self, key: str, body: bytes) -> str:
        """Write `body` under `key` if no object exists: exactly one of many racing callers wins. One request, never in parts.

        Returns:
            The new object's ETag.

        Raises:
            ObjectExists: an object exists; it may be this caller's own write whose reply was lost.
        """
        with _translated(key, self.name):
            return str(obstore.put(self._backend, key, body, mode="create", use_multipart=False)["e_tag"])

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
        with _translated(key, self.name):
            try:
                result = obstore.put(self._backend, key, body, mode={"e_tag": etag}, use_multipart=False)
            except (ob.NotFoundError, FileNotFoundError) as error:  # AWS answers 404, SeaweedFS 412
                raise ObjectChanged(f"{key!r} in {self.name} was deleted") from error
            return str(result["e_tag"])

    def head(self, key: str) -> ObjectStat:
        """Return the object's metadata. Raises `ObjectNotFound`."""
        with _translated(key, self.name):
            meta = obstore.head(self._backend, key)
            return ObjectStat(key, int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])

    def exists(self, key: str) -> bool:
        """Whether there is an object under `key`."""
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectStat]:
        """Yield the objects under `prefix` (a folder, without its closing slash), by key; only keys greater than `after`."""
        with _translated(prefix, self.name):
            for page in obstore.list(self._backend, prefix, offset=after):
                for meta in sorted(page, key=lambda item: item["path"]):
                    yield ObjectStat(str(meta["path"]), int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])

    def delete(self, key: str) -> None:
        """Delete the object under `key`, if there is one."""
        try:
            with _translated(key, self.name):
                obstore.delete(self._backend, key)
        except ObjectNotFound:
            return


def bucket_of(settings: Settings) -> str:
    """Return the name of the settings' bucket."""
    return str(settings.store_url).removeprefix("s3://").rstrip("/")


def read_credentials(path: Path, profile: str) -> dict[str, str | None]:
    """Read an AWS-style credentials file.

    Args:
        path: the file.
        profile: the section to read.

    Returns:
        ``access_key_id``, ``secret_access_key`` and ``token``, which may be None.

    Raises:
        SettingsError: the file cannot be read, or has no such section with both keys.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        section = parser[profile]
        return {
            "access_key_id": section["aws_access_key_id"],
            "secret_access_key": section["aws_secret_access_key"],
            "token": section.get("aws_session_token"),
        }
    except OSError as error:
        raise SettingsError(f"ORCHARD_STORE_CREDENTIALS_FILE cannot be read: {error}") from error
    except (configparser.Error, KeyError) as error:
        raise SettingsError(
            f"{path} is not a credentials file with the profile [{profile}], aws_access_key_id and aws_secret_access_key"
        ) from error


def _provider(path: Path, profile: str) -> Callable[[], dict[str, Any]]:
    """Return a provider that reads a rotated key without a restart; while the file cannot be read, the key before is used.

    Raises:
        SettingsError: the file is invalid now.
    """
    file = WatchedFile(path, lambda found: read_credentials(found, profile), report=_LOG.warning)
    return lambda: {**file.current(), "expires_at": datetime.now(UTC) + CREDENTIALS_TTL}


def open_store(settings: Settings) -> ObjectStore:
    """Open the store that the settings name; no request is made yet.

    Raises:
        SettingsError: ORCHARD_STORE_URL is not set, or the credentials file is invalid.
    """
    settings.require("store_url")
    url = str(settings.store_url)
    if url == "memory://":
        return ObjectStore(MemoryStore(), url)
    options: dict[str, Any] = {
        "region": settings.store_region,
        "virtual_hosted_style_request": settings.store_endpoint is None,
        "client_options": {
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "read_timeout": f"{READ_SECONDS}s",
            "timeout": f"{DOCUMENT_SECONDS}s",
            "allow_http": True,
        },
        "retry_config": {
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    }
    if settings.store_endpoint is not None:
        options["endpoint"] = settings.store_endpoint
        options["client_options"]["allow_http"] = settings.store_endpoint.startswith("http://")
    if settings.store_credentials_file is not None:
        options["credential_provider"] = _provider(settings.store_credentials_file, settings.store_profile)
    bucket = bucket_of(settings)
    where = f" at {settings.store_endpoint}" if settings.store_endpoint else ""
    bulk = {**options, "client_options": {**options["client_options"], "timeout": f"{BODY_SECONDS}s"}}
    return ObjectStore(S3Store(bucket, **options), f"s3://{bucket}{where}", S3Store(bucket, **bulk), settings)
