"""Folders that others write into: all that lies there is listed, also under keys that no request of ours can hold.

The store's client refuses a whole listing for one key with a newline in it. Such a listing is asked for again with Amazon's
client, so that one bad key can be named, and the others be read.
"""

from __future__ import annotations

from typing import Any

from obstore import exceptions as ob

from orchard.errors import StoreError
from orchard.settings import Settings
from orchard.store.objects import ObjectStat, ObjectStore, bucket_of
from orchard.store.s3 import send_request

__all__ = ["flaw", "list_foreign"]

ATTEMPTS = 5


def flaw(key: str) -> str:
    """Say what in a key keeps the store's client from asking for it, as the end of "its name has …"; empty if nothing does."""
    controls = sorted({letter for letter in key if letter < " " or letter == "\x7f"})
    if controls:
        return f"a control character (U+{ord(controls[0]):04X})"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "a folder without a name, or one that is called . or .."
    return ""


def list_foreign(store: ObjectStore, folder: str) -> list[ObjectStat]:
    """List a folder as `ObjectStore.list` does, and also what lies there under a key with a `flaw`.

    Args:
        store: where.
        folder: without its closing slash.

    Raises:
        StoreError: the store did not answer or refused.
    """
    try:
        return list(store.list(folder))
    except StoreError as error:
        if store.settings is None or not isinstance(error.__cause__, ob.InvalidPathError):
            raise
        return _list_with_botocore(store.settings, folder)


def _list_with_botocore(settings: Settings, folder: str) -> list[ObjectStat]:
    found: list[ObjectStat] = []

    def collect(client: Any) -> None:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket_of(settings), Prefix=f"{folder}/")
        for page in pages:
            for item in page.get("Contents", ()):
                key = str(item["Key"]).removesuffix("/")  # the empty object that stands for a folder
                found.append(ObjectStat(key, int(item["Size"]), str(item["ETag"]), item["LastModified"]))

    send_request(settings, f"list {folder}/", collect, attempts=ATTEMPTS)
    return sorted(found, key=lambda stat: stat.key)
