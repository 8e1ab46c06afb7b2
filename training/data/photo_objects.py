"""Photos that are plain objects in the store: read in order, a few at a time, with a limit on the bytes of each.

Other programs write them, under any name. A photo whose name cannot be part of a request is rejected; the rest are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath

from orchard.errors import ObjectNotFound
from orchard.store import ObjectStore
from orchard.store.listing import flaw, list_foreign
from training.data.read_ahead import map_ahead
from training.data.rejections import PhotoRejected, RejectionReason

__all__ = ["list_names", "read_in_order"]

CONCURRENT_READS = 8


def list_names(store: ObjectStore, folder: str) -> list[str]:
    """Return the sorted paths of the objects in a folder, without the empty objects that represent folders.

    Raises:
        StoreError: the store did not answer or refused.
    """
    stats = [stat for stat in list_foreign(store, folder) if stat.key.startswith(f"{folder}/")]
    parents = {str(parent) for stat in stats for parent in PurePosixPath(stat.key).parents}
    return sorted(stat.key.removeprefix(f"{folder}/") for stat in stats if stat.size or stat.key not in parents)


def _read(key: str, store: ObjectStore, largest: int) -> tuple[str, bytes | PhotoRejected]:
    if problem := flaw(key):
        return key, PhotoRejected(RejectionReason.UNREADABLE, f"its name has {problem}: upload it under another name")
    body = bytearray()
    try:
        for piece in store.stream(key):
            body += piece
            if len(body) > largest:
                return key, PhotoRejected(
                    RejectionReason.TOO_LARGE, f"more than {largest} bytes, the limit (`bytes` in the schema)"
                )
    except ObjectNotFound:
        return key, PhotoRejected(RejectionReason.UNREADABLE, "it was deleted after it was listed")
    return key, bytes(body)


def read_in_order(store: ObjectStore, keys: Iterable[str], largest: int) -> Iterator[tuple[str, bytes | PhotoRejected]]:
    """Yield each object's key and its bytes, or why it was rejected. The next objects are read in the background.

    Args:
        store: the store.
        keys: the objects' keys.
        largest: the limit on an object's bytes.

    Raises:
        StoreError: the store did not answer or refused.
    """
    read = partial(_read, store=store, largest=largest)
    return map_ahead(read, keys, threads=CONCURRENT_READS, ahead=CONCURRENT_READS)
