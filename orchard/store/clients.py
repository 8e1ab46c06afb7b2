"""The clients of a settings' store: obstore's for S3, Google Cloud Storage or Azure Blob Storage."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore import exceptions as ob
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from orchard.errors import OrchardError, SettingsError
from orchard.files import WatchedFile
from orchard.settings import Settings
from orchard.store.answers import printable
from orchard.store.authorities import AuthorityFile, authority_file, read_authorities
from orchard.store.clouds import AZURE, GCS, account_of, bucket_of, cloud_of
from orchard.store.credentials import check_environment, credential_provider
from orchard.store.reachability import direct_options

__all__ = ["ObstoreClient", "StoreClients"]

ObstoreClient = S3Store | GCSStore | AzureStore | MemoryStore

CONNECT_SECONDS = 5
READ_SECONDS = 20
"""The longest time without a byte. SeaweedFS lets the losers of a race for one key wait for some seconds."""

RETRY_SECONDS = 35
"""No retry begins after this time, so that a call for a document ends within a minute."""

DOCUMENT_SECONDS = 25
"""The longest time of one request for a document, even if bytes arrive."""

BODY_SECONDS = 600
"""The longest time of one request of `stream` and of `put_file`, whose bodies may be large."""

_GOOGLE_FILES = ("service_account", "authorized_user")
"""The kinds of credentials files of Google that the client reads."""

Files = tuple[bytes | None, bytes | None]
"""The bytes of the files of authorities and of Google's credentials; None: there is no such file."""


@dataclass(frozen=True, slots=True)
class _GoogleFile:
    """A file of Google's credentials, and the variable that names it."""

    path: Path
    variable: str


class StoreClients:
    """The clients of a settings' store. After a change of the file of authorities or of Google's credentials, they are made anew.

    A request in flight keeps its client.

    Args:
        settings: the settings, whose store is not in memory.

    Raises:
        SettingsError: a file of them is invalid, or a variable of the cloud is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._options = _options(settings)
        self._file: AuthorityFile | _GoogleFile | None = authority_file(settings)
        self._watched: list[WatchedFile[bytes] | None] = [None, None]
        if (file := authority_file(settings)) is not None:
            self._watched[0] = WatchedFile(file.path, lambda path: read_authorities(file))
        if (google := _google_file(settings)) is not None:
            self._file = google
            self._watched[1] = WatchedFile(google.path, lambda path: _read_google_file(google))
        self._made = self._make(self._contents())

    def _contents(self) -> Files:
        authorities, google = (None if file is None else file.current() for file in self._watched)
        return authorities, google

    def current(self) -> tuple[ObstoreClient, ObstoreClient]:
        """Return the client for documents and the one for large bodies."""
        contents = self._contents()
        if any(new is not old for new, old in zip(contents, self._made[0], strict=True)):
            with suppress(OrchardError):
                self._made = self._make(contents)
        return self._made[1]

    def _make(self, contents: Files) -> tuple[Files, tuple[ObstoreClient, ObstoreClient]]:
        authorities = contents[0]
        extra = {} if authorities is None else {"root_certificate": authorities}
        kinds: dict[str, Any] = {GCS.scheme: GCSStore, AZURE.scheme: AzureStore}
        kind = kinds.get(cloud_of(self._settings).scheme, S3Store)
        bucket, clients = bucket_of(self._settings), []
        for seconds in (DOCUMENT_SECONDS, BODY_SECONDS):
            options = {**self._options["client_options"], **extra, "timeout": f"{seconds}s"}
            try:
                clients.append(kind(bucket, **{**self._options, "client_options": options}))
            except (ob.BaseError, ValueError) as error:
                raise self._unusable(str(error)) from None  # its text may have a key
        return contents, (clients[0], clients[1])

    def _unusable(self, text: str) -> SettingsError:
        source = f"{self._file.variable}: {self._file.path}" if self._file else "the settings of the store"
        for name in cloud_of(self._settings).secrets:
            if value := os.environ.get(name):
                text = text.replace(value, "…")
        return SettingsError(f"{source} cannot be used: {printable(text.partition(chr(10))[0])}")


def _options(settings: Settings) -> dict[str, Any]:
    """Return the client's options, without its timeout and authorities."""
    endpoint = settings.store_endpoint
    cloud = cloud_of(settings)
    plain = endpoint is not None and endpoint.startswith("http://")
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "read_timeout": f"{READ_SECONDS}s",
            "allow_http": plain or (endpoint is None and cloud not in (GCS, AZURE)),
            **direct_options(endpoint),
        },
        "retry_config": {
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    }
    special = {GCS.scheme: _google_options, AZURE.scheme: _azure_options}.get(cloud.scheme, _s3_options)
    return {**options, **special(settings, plain)}


def _s3_options(settings: Settings, plain: bool) -> dict[str, Any]:
    endpoint = settings.store_endpoint
    options: dict[str, Any] = {
        "region": settings.store_region,
        "virtual_hosted_style_request": endpoint is None,
    }
    if endpoint is not None:
        options["endpoint"] = endpoint
    if settings.store_credentials_file is None:
        check_environment()
    else:
        provider = credential_provider(settings.store_credentials_file, settings.store_profile)
        options["credential_provider"] = provider  # an invalid file was an error now, not at the first request
    return options


def _google_options(settings: Settings, plain: bool) -> dict[str, Any]:
    """Return the options for Google Cloud Storage. Where there is no TLS, there is an emulator: no token is sent to it."""
    options: dict[str, Any] = {}
    if settings.store_endpoint is not None:
        options["base_url"] = settings.store_endpoint
    if plain:
        options["bearer_token"] = "anonymous"  # noqa: S105  # for `skip_signature` the client asks for a token all the same
    elif (file := _google_file(settings)) is not None:
        options["application_credentials"] = str(file.path)
    return options


def _azure_options(settings: Settings, plain: bool) -> dict[str, Any]:
    """Return the options for Azure. Where there is no TLS, requests are signed: neither a token nor a SAS is sent."""
    options: dict[str, Any] = {"account_name": account_of(settings)}
    if settings.store_endpoint is not None:
        options["endpoint"] = settings.store_endpoint
    if plain:
        if not any(os.environ.get(name) for name in AZURE.secrets[:3]):
            raise SettingsError(
                f"ORCHARD_STORE_ENDPOINT={settings.store_endpoint} has no TLS, and AZURE_STORAGE_ACCOUNT_KEY is not set: "
                "tokens are sent over https:// only",
                hint="set AZURE_STORAGE_ACCOUNT_KEY (an emulator documents its own), or use an https:// endpoint",
            )
        options["credential_type"] = "access_key"
    return options


def _google_file(settings: Settings) -> _GoogleFile | None:
    """Return the file of Google's credentials that the settings or Google's own variable name; None: another source."""
    if cloud_of(settings) is not GCS or (settings.store_endpoint or "").startswith("http://"):
        return None
    if settings.store_credentials_file is not None:
        return _GoogleFile(settings.store_credentials_file, "ORCHARD_STORE_CREDENTIALS_FILE")
    if value := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "").strip():
        return _GoogleFile(Path(value), "GOOGLE_APPLICATION_CREDENTIALS")
    return None


def _read_google_file(file: _GoogleFile) -> bytes:
    """Read and check a file of Google's credentials. No message has any of its text, which has a key."""
    hint = "expected the JSON file of a service account, or the one that `gcloud auth application-default login` writes"
    try:
        body = file.path.read_bytes()
        found = json.loads(body)
    except OSError as error:
        raise SettingsError(f"{file.variable} cannot be read: {error}", hint=hint) from error
    except ValueError:
        raise SettingsError(f"{file.variable}: {file.path} is not a JSON file", hint=hint) from None
    kind = found.get("type") if isinstance(found, dict) else None
    if kind not in _GOOGLE_FILES:
        shown = printable(str(kind), 40)
        raise SettingsError(
            f"{file.variable}: {file.path} has credentials of the kind {shown!r}; "
            f"supported are {' and '.join(_GOOGLE_FILES)}",
            hint=f"{hint}; in Google's cloud use the pod's or the machine's service account, which needs no file",
        )
    return body
