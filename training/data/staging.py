"""One ingest at a time, and its result put in place in one step: a dataset folder is never half of two.

Files are made in a staging folder beside the datasets (the same volume), synced, and renamed. `index.json` is renamed
last; until then the dataset is what it was, and whatever a killed ingest left is swept by the next.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchard.errors import ConflictError, DataError, OrchardError
from training.data.shards import INDEX, Index, is_shard_name, read_index

__all__ = ["disk_full_explained", "install", "locked", "staged", "sweep", "write_synced"]

PREFIX = ".staging-"
WAIT = 600.0
"""Seconds for which an ingest waits for another one."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def locked(data: Path, note: Callable[[str], None], wait: float = WAIT) -> Iterator[None]:
    """Hold the datasets' folder for one writer. The lock is the kernel's: it ends with the process, however that ends.

    Args:
        data: the folder that holds the datasets; it is made if need be.
        note: is told when somebody else holds it.
        wait: seconds to wait for them.

    Raises:
        ConflictError: they still hold it then.
    """
    data.mkdir(parents=True, exist_ok=True)
    handle = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + wait
        told = False
        while not _try_lock(handle):
            if not told:
                note(f"another command is writing to {data}/: waiting for it to end")
                told = True
            if time.monotonic() >= deadline:
                raise ConflictError(
                    f"another command has been writing to {data}/ for {wait:.0f} s",
                    hint="wait for it to end, or end it, and run the same command again",
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def staged(data: Path, name: str) -> Iterator[Path]:
    """Make a staging folder for the dataset `name`, under the lock; what earlier ones left is removed, and so is this."""
    for left in data.glob(f"{PREFIX}*"):
        shutil.rmtree(left)
    staging = data / f"{PREFIX}{name}-{os.getpid()}"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sweep(folder: Path) -> Index | None:
    """Remove shards that no index names (their ingest was killed); return the index, or None where there is no dataset.

    Raises:
        IntegrityError: the index is malformed.
        DataError: the folder holds shards or other things, and no index: it is not ours to write into.
    """
    if not (folder / INDEX).exists():
        strangers = sorted(path.name for path in folder.glob("*")) if folder.exists() else []
        if not strangers:
            return None
        if all(is_shard_name(name) for name in strangers):  # the first ingest was killed before its index
            shutil.rmtree(folder)
            return None
        raise DataError(
            f"{folder} is no dataset: it holds {', '.join(strangers[:3])} and no {INDEX}",
            hint="move it away, or choose another name with --dataset",
        )
    index = read_index(folder)
    named = {shard.path for shard in index.shards}
    for path in folder.glob("*.parquet"):
        if is_shard_name(path.name) and path.name not in named:
            path.unlink()
    return index


def write_synced(path: Path, text: str) -> None:
    """Write a small file and sync it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def install(staging: Path, folder: Path, index: Index) -> None:
    """Move new shards and then the index from the staging folder into the dataset's.

    Raises:
        OSError: the disk fails; the dataset is what it was.
    """
    write_synced(staging / INDEX, json.dumps(index.document, ensure_ascii=False, indent=1) + "\n")
    folder.mkdir(exist_ok=True)
    for shard in index.shards:
        if (staging / shard.path).exists():
            (staging / shard.path).replace(folder / shard.path)
    _sync_folder(folder)
    (staging / INDEX).replace(folder / INDEX)
    _sync_folder(folder)
    _sync_folder(folder.parent)


@contextmanager
def disk_full_explained(data: Path) -> Iterator[None]:
    """Turn the errors of a full disk into a sentence.

    Raises:
        OrchardError: no space is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OrchardError(
            f"no space is left on the disk that holds {data}/ ({error.strerror}); the dataset is what it was",
            hint="an ingest needs about twice the photos' size while it runs: make room and run the same command again",
        ) from error
