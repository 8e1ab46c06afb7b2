"""Photos that lie in the store as plain objects: read a few at a time, in order, never more bytes than a photo may have.

Others put them there, under whatever names: one whose name no request can hold is an unfit photo, and no reason to stop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath

from orchard.errors import ObjectNotFound
from orchard.store import ObjectStore
from orchard.store.listing import flaw, list_foreign
from training.data.rejections import PhotoRejected, RejectionReason

__all__ = ["list_names", "read_in_order"]

AT_A_TIME = 8


def list_names(store: ObjectStore, folder: str) -> list[str]:
    """Name what lies in a folder, by its path in it, sorted; the empty objects that stand for folders themselves are left out.

    Raises:
        StoreError: the store did not answer or refused.
    """
    found = [stat for stat in list_foreign(store, folder) if stat.key.startswith(f"{folder}/")]
    parents = {str(parent) for stat in found for parent in PurePosixPath(stat.key).parents}
    return sorted(stat.key.removeprefix(f"{folder}/") for stat in found if stat.size or stat.key not in parents)


def _read(store: ObjectStore, key: str, largest: int) -> bytes | PhotoRejected:
    if spoiled := flaw(key):
        return PhotoRejected(RejectionReason.UNREADABLE, f"its name has {spoiled}: put it there under another name")
    body = bytearray()
    try:
        for piece in store.stream(key):
            body += piece
            if len(body) > largest:
                return PhotoRejected(RejectionReason.TOO_LARGE, f"more than the {largest} bytes that are read")
    except ObjectNotFound:
        return PhotoRejected(RejectionReason.UNREADABLE, "it was listed, and is gone")
    return bytes(body)


def read_in_order(store: ObjectStore, keys: Iterable[str], largest: int) -> Iterator[tuple[str, bytes | PhotoRejected]]:
    """Yield each object's key and its bytes, or why it has none; some are on their way while one is worked on.

    Args:
        store: where they lie.
        keys: which.
        largest: the most bytes of an object that are read.

    Raises:
        StoreError: the store did not answer or refused.
    """
    waiting: deque[tuple[str, Future[bytes | PhotoRejected]]] = deque()
    pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="read")
    try:
        for key in keys:
            waiting.append((key, pool.submit(partial(_read, store, key, largest))))
            if len(waiting) > AT_A_TIME:
                name, reading = waiting.popleft()
                yield name, reading.result()
        while waiting:
            name, reading = waiting.popleft()
            yield name, reading.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
