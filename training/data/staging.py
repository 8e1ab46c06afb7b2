"""One ingest at a time, with an atomic result: a dataset folder is never a mix of two versions.

Files are written to a staging folder beside the datasets (on the same volume), synced and renamed. `index.json` is
renamed last: until then, the dataset is unchanged. The next ingest deletes the files of a killed one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchard import disk, files
from orchard.errors import ConflictError, DataError
from orchard.files import fsync_directory
from orchard.reporter import Reporter
from training.data.shards import INDEX, Index, is_shard_name, read_index

__all__ = ["install", "locked", "staged", "sweep", "write_synced"]

PREFIX = ".staging-"
WAIT_SECONDS = 600.0
"""How long an ingest waits for another one."""


@contextmanager
def locked(data: Path, reporter: Reporter, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Lock the datasets' folder for one writer. The kernel releases the lock when the process ends.

    Args:
        data: the folder of all datasets; it is made if it is missing.
        reporter: reports that another command has the lock.
        wait: seconds to wait for the lock.

    Raises:
        ConflictError: another command still has the lock then.
    """
    with disk.writing_to(data):
        data.mkdir(parents=True, exist_ok=True)
    waiting = f"another command is writing to {data}/: waiting for it to end"
    with files.locked(data, wait_s=wait, on_wait=lambda: reporter.note(waiting)) as is_locked:
        if not is_locked:
            raise ConflictError(
                f"another command has been writing to {data}/ for {wait:.0f} s",
                hint="wait for it, or stop it, then run the same command again",
            )
        yield


@contextmanager
def staged(data: Path, name: str) -> Iterator[Path]:
    """Make a staging folder for the dataset `name`, under the lock, and delete it at the end. Deletes old ones first."""
    for old in data.glob(f"{PREFIX}*"):
        shutil.rmtree(old)
    staging = data / f"{PREFIX}{name}-{os.getpid()}"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sweep(folder: Path) -> Index | None:
    """Delete shards that are not in the index (their ingest was killed); return the index, or None without a dataset.

    Raises:
        IntegrityError: the index is malformed.
        DataError: the folder has no index and holds other files, which must not be overwritten.
    """
    if not (folder / INDEX).exists():
        foreign = sorted(path.name for path in folder.glob("*")) if folder.exists() else []
        if not foreign:
            return None
        if all(is_shard_name(name) for name in foreign):  # the first ingest was killed before its index
            shutil.rmtree(folder)
            return None
        raise DataError(
            f"{folder} is not a dataset: it holds {', '.join(foreign[:3])} and no {INDEX}",
            hint="move it away, or choose another name with --dataset",
        )
    index = read_index(folder)
    listed = {shard.path for shard in index.shards}
    for path in folder.glob("*.parquet"):
        if is_shard_name(path.name) and path.name not in listed:
            path.unlink()
    return index


def write_synced(path: Path, text: str) -> None:
    """Write a small file and sync it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def install(staging: Path, folder: Path, index: Index) -> None:
    """Move new shards and then the index from the staging folder into the dataset's.

    Raises:
        OSError: the disk fails; the dataset is unchanged.
    """
    write_synced(staging / INDEX, index.text)
    folder.mkdir(exist_ok=True)
    for shard in index.shards:
        if (staging / shard.path).exists():
            (staging / shard.path).replace(folder / shard.path)
    fsync_directory(folder)
    (staging / INDEX).replace(folder / INDEX)
    fsync_directory(folder)
    fsync_directory(folder.parent)
