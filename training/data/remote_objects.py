"""The objects of a dataset's versions in the store: which are missing or damaged, and which this machine can put back.

An object is named by the MD5 of its bytes, so any file with these bytes is the right one: a shard in the dataset's folder,
or a file in DVC's cache. `index.json` and DVC's listing are made again from the version's document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchard.dataset import DatasetVersion
from orchard.documents import canonical_json
from orchard.errors import IntegrityError, ObjectNotFound
from orchard.files import hash_pieces
from orchard.formatting import shorten
from orchard.store import ObjectStore
from training.data.dvc_tracking import JOBS, cache_of, has_md5, is_stored, listing_md5, object_key
from training.data.shards import INDEX, parse_index

__all__ = ["RemoteCheck", "check", "heal"]


@dataclass(frozen=True, slots=True)
class _VersionObject:
    """An object that a version needs: its DVC name, the file that it is, its size, and its bytes if they can be made here."""

    oid: str
    path: str
    size: int
    body: bytes | None

    @property
    def md5(self) -> str:
        return self.oid.removesuffix(".dir")


@dataclass(frozen=True, slots=True)
class RemoteCheck:
    """The result of a check.

    Attributes:
        checked: the number of objects.
        restored: the files whose objects were put back.
        missing: the files whose objects the store lacks.
        damaged: the files whose objects have other bytes.
    """

    checked: int
    restored: tuple[str, ...]
    missing: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether all the versions can be pulled."""
        return not self.missing and not self.damaged

    def describe(self) -> str:
        """What is wrong, after the store's name."""
        parts = {"lacks": self.missing, "has other bytes for": self.damaged}
        return " and ".join(f"{what} {shorten(list(files), 5)}" for what, files in parts.items() if files)


def _objects(version: DatasetVersion, *, strict: bool) -> Iterator[_VersionObject]:
    """Yield what a version needs: the shards, index.json and, last, the listing that promises them.

    Raises:
        IntegrityError: the version's documents contradict each other. Unless `strict`, only the shards are yielded then.
    """
    where = f"version {version.version} of {version.name!r}"
    index = parse_index(canonical_json(version.index), where)
    text = index.text.encode()
    shards = [_VersionObject(shard.md5, shard.path, shard.bytes, None) for shard in index.shards]
    index_file = _VersionObject(hash_pieces([text], "md5")[0], INDEX, len(text), text)
    files = sorted((*shards, index_file), key=lambda file: file.path)
    listing = json.dumps([{"md5": file.md5, "relpath": file.path} for file in files], sort_keys=True).encode()
    md5 = listing_md5(version.dvc, version.name)
    if hash_pieces([listing], "md5")[0] == md5:
        yield from files
        yield _VersionObject(f"{md5}.dir", "the listing", len(listing), listing)
    elif strict:
        raise IntegrityError(f"the .dvc text of {where} names other files than its index")
    else:
        yield from shards


def _state(store: ObjectStore, wanted: _VersionObject, *, thorough: bool) -> str:
    """``sound``, ``missing`` or ``damaged``."""
    if not thorough and is_stored(store, wanted.oid, wanted.size):
        return "sound"
    try:
        md5, _ = hash_pieces(store.stream(object_key(wanted.oid)), "md5")
    except ObjectNotFound:
        return "missing"
    return "sound" if md5 == wanted.md5 else "damaged"


def _put_back(store: ObjectStore, folder: Path, wanted: _VersionObject) -> bool:
    """Write an object from this machine's copy of its bytes; return False if there is none."""
    if wanted.body is not None and hash_pieces([wanted.body], "md5")[0] == wanted.md5:
        store.put(object_key(wanted.oid), wanted.body)
        return True
    for copy in (folder / wanted.path, cache_of(folder)(wanted.oid)):
        if has_md5(copy, wanted.md5):
            store.put_file(object_key(wanted.oid), copy)
            return True
    return False


def _examine(
    store: ObjectStore, versions: Iterable[DatasetVersion], folder: Path | None, *, thorough: bool
) -> RemoteCheck:
    objects = list(
        {wanted.oid: wanted for version in versions for wanted in _objects(version, strict=thorough)}.values()
    )
    with ThreadPoolExecutor(JOBS) as pool:
        states = list(pool.map(partial(_state, store, thorough=thorough), objects))
    found: dict[str, list[str]] = {"restored": [], "missing": [], "damaged": []}
    for wanted, state in zip(objects, states, strict=True):
        if state != "sound":
            restored = folder is not None and _put_back(store, folder, wanted)
            found["restored" if restored else state].append(wanted.path)
    return RemoteCheck(len(objects), *(tuple(files) for files in found.values()))


def check(store: ObjectStore, versions: Iterable[DatasetVersion]) -> RemoteCheck:
    """Read every object of the versions and compare its bytes. Raises `StoreError` and `IntegrityError`."""
    return _examine(store, versions, None, thorough=True)


def heal(store: ObjectStore, versions: Iterable[DatasetVersion], folder: Path, *, thorough: bool) -> RemoteCheck:
    """Put back the objects that the store has lost, from a dataset's folder and DVC's cache.

    Args:
        store: the store.
        versions: the versions whose objects are checked.
        folder: the dataset's folder, ``data/<name>``; it need not exist.
        thorough: read every object; else only those whose size or ETag is wrong.

    Raises:
        StoreError: the store failed.
        IntegrityError: a version's document is invalid.
    """
    return _examine(store, versions, folder, thorough=thorough)
