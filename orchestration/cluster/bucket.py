"""The bucket of a fresh store: created, protected from deletion, and checked by a put and a get."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from orchard.errors import OrchardError, SettingsError, StoreUnavailable
from orchard.settings import Settings
from orchard.store import open_store
from orchard.store.clouds import S3, bucket_of, cloud_of
from orchard.store.s3 import send_request

__all__ = ["policy", "prepare"]

_RETRY_SECONDS = 1.0
_PROTECTED_FOLDERS = ("models", "datasets", "runs", "review")
PROBE = "probe/bootstrap"

T = TypeVar("T")


def policy(bucket: str) -> dict[str, Any]:
    """Return the policy that lets only the administrator and housekeeping delete what is published."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NothingPublishedIsDeleted",
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                "Resource": [f"arn:aws:s3:::{bucket}/{folder}/*" for folder in _PROTECTED_FOLDERS],
                "Condition": {"StringNotEquals": {"aws:username": "housekeeping"}},
            }
        ],
    }


def prepare(settings: Settings, *, forbid_deletes: bool, timeout_s: float) -> bool:
    """Create the bucket that the settings name, set its policy, and wait until it is writable.

    Args:
        settings: with a store and the credentials of its administrator.
        forbid_deletes: whether to set the policy.
        timeout_s: the time limit for the store to start, in seconds.

    Returns:
        Whether this call created the bucket.

    Raises:
        StoreUnavailable: the store did not answer in time, or was not writable.
        StoreDenied: it refused the credentials.
        StoreError: it refused the bucket or the policy.
        SettingsError: the store is not S3.
    """
    if cloud_of(settings) is not S3:
        raise SettingsError(
            f"{settings.store_url} is {cloud_of(settings).title}: only a bucket of an S3 store is created here",
            hint="create it with the cloud's own command; `orchard store check` shows whether it and its rights are right",
        )
    deadline = time.monotonic() + timeout_s
    name = bucket_of(settings)
    created = _retry(lambda: _create(settings, name), deadline)
    if forbid_deletes:
        _retry(lambda: _set_policy(settings, name), deadline)
    _retry(lambda: _check_writable(settings), deadline)
    return created


def _retry(step: Callable[[], T], deadline: float) -> T:
    """Repeat a step while the store does not answer: it reports ready some seconds before it is writable."""
    while True:
        try:
            return step()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def _create(settings: Settings, name: str) -> bool:
    place: dict[str, Any] = {}
    if settings.store_endpoint is None and settings.store_region != "us-east-1":  # AWS asks for it everywhere else
        place = {"CreateBucketConfiguration": {"LocationConstraint": settings.store_region}}
    return send_request(
        settings,
        "create the bucket",
        lambda client: client.create_bucket(Bucket=name, **place),
        ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"),
    )


def _set_policy(settings: Settings, name: str) -> bool:
    text = json.dumps(policy(name))
    return send_request(settings, "set its policy", lambda client: client.put_bucket_policy(Bucket=name, Policy=text))


def _check_writable(settings: Settings) -> None:
    store, body = open_store(settings), uuid.uuid4().hex.encode()
    store.put(PROBE, body)
    if store.get(PROBE).body != body:
        raise OrchardError(f"{store.name} returned other bytes than those that were put")
    store.delete(PROBE)
