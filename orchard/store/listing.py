"""Lists of folders that other programs write to, including keys that the store's client cannot request.

The store's client refuses a whole list if one key has a newline. Such a list of an S3 store is requested again with Amazon's
client, so that the invalid key can be named and the other objects can be read; with Google and Azure it is an error.
"""

from __future__ import annotations

from typing import Any

from obstore import exceptions as ob

from orchard.errors import StoreError
from orchard.settings import Settings
from orchard.store.clouds import S3, bucket_of, cloud_of
from orchard.store.objects import ObjectStat, ObjectStore
from orchard.store.s3 import send_request

__all__ = ["flaw", "list_foreign"]

ATTEMPTS = 5


def flaw(key: str) -> str:
    """Return why the store's client cannot request a key, as the end of "its name has …"; empty if it can."""
    controls = sorted({letter for letter in key if letter < " " or letter == "\x7f"})
    if controls:
        return f"a control character (U+{ord(controls[0]):04X})"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "a folder without a name, or a folder named . or .."
    return ""


def list_foreign(store: ObjectStore, folder: str) -> list[ObjectStat]:
    """List a folder (without its closing slash) as `ObjectStore.list` does, including keys with a `flaw`.

    Raises:
        StoreError: the store did not answer or refused.
    """
    try:
        return list(store.list(folder))
    except StoreError as error:
        if (
            store.settings is None
            or cloud_of(store.settings) is not S3
            or not isinstance(error.__cause__, ob.InvalidPathError)
        ):
            raise
        return _list_with_botocore(store.settings, folder)


def _list_with_botocore(settings: Settings, folder: str) -> list[ObjectStat]:
    stats: list[ObjectStat] = []

    def collect(client: Any) -> None:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket_of(settings), Prefix=f"{folder}/")
        for page in pages:
            for item in page.get("Contents", ()):
                key = str(item["Key"]).removesuffix("/")  # some clients write an empty object for a folder
                stats.append(ObjectStat(key, int(item["Size"]), str(item["ETag"]), item["LastModified"]))

    send_request(settings, f"list {folder}/", collect, attempts=ATTEMPTS)
    return sorted(stats, key=lambda stat: stat.key)
