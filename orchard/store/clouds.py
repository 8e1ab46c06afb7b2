"""The kinds of object store: what differs between S3, Google Cloud Storage and Azure Blob Storage, besides their clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchard.errors import SettingsError
from orchard.settings import Settings

__all__ = ["AZURE", "GCS", "S3", "Cloud", "account_of", "bucket_of", "cloud_of"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """A kind of object store.

    Attributes:
        scheme: of ORCHARD_STORE_URL.
        title: its name in messages, after "not".
        keys: where its credentials come from, after "check".
        no_keys: what to do where there are none.
        rights: what to do for a key that lacks the right to ``list``, ``get``, ``put`` or ``delete``, by that name, with the
            fields ``{bucket}`` and ``{place}``.
        secrets: the environment variables whose values no message may show.
    """

    scheme: str
    title: str
    keys: str
    no_keys: str
    rights: Mapping[str, str]
    secrets: tuple[str, ...]


S3 = Cloud(
    "s3",
    "an S3 store",
    "ORCHARD_STORE_CREDENTIALS_FILE and its profile (ORCHARD_STORE_PROFILE)",
    "set ORCHARD_STORE_CREDENTIALS_FILE; without it the cloud's own identity is used, and this machine has none",
    {
        "list": "give the key s3:ListBucket on arn:aws:s3:::{bucket} for the prefix {place}/",
        "get": "give the key s3:GetObject on arn:aws:s3:::{bucket}/{place}/*; "
        "S3 answers so too where the key may not list the folder",
        "put": "give the key s3:PutObject on arn:aws:s3:::{bucket}/{place}/*",
        "delete": "give the key s3:DeleteObject on arn:aws:s3:::{bucket}/{place}/*",
    },
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)

GCS = Cloud(
    "gs",
    "Google Cloud Storage",
    "the account: ORCHARD_STORE_CREDENTIALS_FILE, else GOOGLE_APPLICATION_CREDENTIALS, else the machine's own service account",
    "set ORCHARD_STORE_CREDENTIALS_FILE or GOOGLE_APPLICATION_CREDENTIALS to the JSON file of a service account, or run "
    "`gcloud auth application-default login`; in Google's cloud the pod's or the machine's service account needs neither",
    {
        "list": "give the account storage.objects.list on gs://{bucket} (role roles/storage.objectViewer)",
        "get": "give the account storage.objects.get on gs://{bucket}/{place}/ (role roles/storage.objectViewer); "
        "Google answers so too where the account may not list the bucket",
        "put": "give the account storage.objects.create and, to replace an object, storage.objects.delete on "
        "gs://{bucket}/{place}/ (role roles/storage.objectUser)",
        "delete": "give the account storage.objects.delete on gs://{bucket}/{place}/ (role roles/storage.objectUser)",
    },
    ("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN"),
)

AZURE = Cloud(
    "az",
    "Azure Blob Storage",
    "AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or the managed identity",
    "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN; in Azure the workload's or the machine's managed identity needs neither",
    {
        "list": "give the identity the role Storage Blob Data Reader on the container {bucket}, or the SAS the permission l",
        "get": "give the identity the role Storage Blob Data Reader on the container {bucket}, or the SAS the permission r",
        "put": "give the identity the role Storage Blob Data Contributor on the container {bucket}, or the SAS the "
        "permissions c and w",
        "delete": "give the identity the role Storage Blob Data Contributor on the container {bucket}, or the SAS the permission d",
    },
    (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
    ),
)

_BY_SCHEME = {cloud.scheme: cloud for cloud in (S3, GCS, AZURE)}


def cloud_of(settings: Settings | None) -> Cloud:
    """Return the kind of the settings' store; S3 for a store in memory, or nobody's."""
    url = "" if settings is None else str(settings.store_url)
    return _BY_SCHEME.get(url.partition("://")[0], S3)


def bucket_of(settings: Settings) -> str:
    """Return the name of the settings' bucket (Azure: container)."""
    return str(settings.store_url).partition("://")[2].rstrip("/")


def account_of(settings: Settings) -> str:
    """Return the storage account of an ``az://`` store: Azure's own variable names it, else the endpoint does.

    Raises:
        SettingsError: neither does.
    """
    if name := os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "").strip():
        return name
    endpoint = urlsplit(settings.store_endpoint or "")
    host, folder = endpoint.hostname or "", endpoint.path.strip("/")
    if folder and "/" not in folder:
        return folder  # as of Azure's emulator
    if ".blob." in host:
        return host.partition(".")[0]
    raise SettingsError(
        f"{settings.store_url} names a container, and nothing names its storage account",
        hint="set AZURE_STORAGE_ACCOUNT_NAME, or ORCHARD_STORE_ENDPOINT=https://ACCOUNT.blob.core.windows.net",
    )
