"""What is written must be there after a power cut: files, folders and their names, in that order."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

__all__ = ["flush", "free_bytes", "remove_tree", "used_bytes", "write_file"]


def flush(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, body: bytes) -> None:
    """Replace a file: readers see the old one or the new one, whole, whenever this is interrupted."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_tree(folder: Path) -> None:
    """Remove a folder so that nobody ever sees half of it under its own name."""
    doomed = folder.with_name(f".trash-{folder.name.lstrip('.')}-{uuid.uuid4().hex[:8]}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written on the folder's volume."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def used_bytes(folder: Path) -> int:
    """Bytes of all files under a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:  # it was removed meanwhile
                continue
    return total
