"""What to do about the answers of Google Cloud Storage and of Azure Blob Storage whose codes or remedies are not those of S3."""

from __future__ import annotations

from orchard.errors import StoreDenied, StoreError, StoreUnavailable
from orchard.store.clouds import AZURE, GCS

__all__ = ["CLOUD_CODES", "CLOUD_STATUSES", "LEASE", "NO_CLOUD_RIGHT"]

_Advice = tuple[type[StoreError], str]

LEASE = "Lease"
"""How Azure's codes begin that are about a lease on a blob. Some have the status 412, and say nothing about the blob's ETag."""

NO_CLOUD_RIGHT = (
    "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions",
    "UnauthorizedBlobOverwrite",
)
"""Azure's codes for credentials that are valid, and that have no right to the request."""

_AZURE_KEY = (
    StoreDenied,
    f"Azure did not accept the signature, the token or the SAS: check {AZURE.keys}; has the SAS ended, and is the clock right "
    "(`date -u`)?",
)
_AZURE_RIGHT = (
    StoreDenied,
    "the credentials are valid, and have no right to do this: give the identity the role Storage Blob Data Contributor (to "
    "read: Storage Blob Data Reader) on the container, or make a SAS with the permissions r, c, w, d and l",
)
_GOOGLE_RATE = (
    StoreUnavailable,
    "Google allows about one write a second to an object, and asks for fewer requests: try again later",
)

CLOUD_CODES: dict[str, dict[str, _Advice]] = {
    GCS.scheme: {
        "AccessDenied": (
            StoreDenied,
            "the account is known or nobody's, and has no right to do this: is the bucket's name right (ORCHARD_STORE_URL)? "
            f"Else give the account the role roles/storage.objectUser on the bucket, or check {GCS.keys}",
        ),
        **dict.fromkeys(
            ("AuthenticationRequired", "InvalidSecurity", "ExpiredToken"),
            (StoreDenied, f"Google did not accept the token: check {GCS.keys}"),
        ),
        "InvalidBucketName": (
            StoreError,
            "ORCHARD_STORE_URL is gs://BUCKET, with 3 to 63 lower-case letters, digits, hyphens, underscores and dots",
        ),
        "SlowDown": _GOOGLE_RATE,
        "UserProjectMissing": (
            StoreError,
            "the bucket lets its callers pay, which Orchard does not support: use another one",
        ),
        "AccountProblem": (StoreDenied, "is billing enabled for the bucket's project?"),
        "RetentionPolicyNotMet": (
            StoreError,
            "the bucket's retention policy forbids to replace or delete objects: remove it",
        ),
    },
    AZURE.scheme: {
        **dict.fromkeys(
            ("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
            _AZURE_KEY,
        ),
        "AuthorizationFailure": (
            StoreDenied,
            "the account's network rules refuse this machine, or the credentials are wrong: look at Networking of the storage "
            f"account, and check {AZURE.keys}",
        ),
        "KeyBasedAuthenticationNotPermitted": (
            StoreDenied,
            "the storage account accepts no account keys: unset AZURE_STORAGE_ACCOUNT_KEY and use a managed identity",
        ),
        **dict.fromkeys(NO_CLOUD_RIGHT, _AZURE_RIGHT),
        "AccountIsDisabled": (
            StoreDenied,
            "the storage account is disabled: does its subscription have a spending limit?",
        ),
        "ContainerNotFound": (
            StoreError,
            "is the container there, and its name right? create it, or set ORCHARD_STORE_URL to another one",
        ),
        **dict.fromkeys(
            ("ContainerBeingDeleted", "ContainerDisabled"),
            (StoreError, "the container is being deleted or is disabled: use another one"),
        ),
        "InvalidResourceName": (
            StoreError,
            "ORCHARD_STORE_URL is az://CONTAINER, with 3 to 63 lower-case letters, digits and hyphens",
        ),
        "OutOfRangeInput": (
            StoreError,
            "a name is too long or too short: a container's has 3 to 63 letters, a blob's at most 1,024",
        ),
        "BlobImmutableDueToPolicy": (
            StoreError,
            "an immutability policy forbids to replace or delete blobs: remove it from the container",
        ),
        "BlobArchived": (StoreError, "the blob is archived: rehydrate it to a tier that answers at once"),
        **dict.fromkeys(
            ("LeaseIdMissing", "LeaseIdMismatchWithBlobOperation", "LeaseAlreadyPresent", "LeaseLost"),
            (StoreError, "somebody holds a lease on the blob, which no program of Orchard takes: break it"),
        ),
        **dict.fromkeys(
            ("OperationTimedOut", "InternalError"),
            (StoreUnavailable, "Azure failed for a moment: try again"),
        ),
    },
}
"""What to do about a code, by the scheme of the store and the code; S3's advice is for all other codes."""

CLOUD_STATUSES: dict[str, dict[int, _Advice]] = {
    GCS.scheme: {
        **dict.fromkeys((401, 403), (StoreDenied, f"check {GCS.keys}, and the rights of that account")),
        429: _GOOGLE_RATE,
    },
    AZURE.scheme: dict.fromkeys((401, 403), _AZURE_KEY),
}
"""What to do about a status without such a code."""
