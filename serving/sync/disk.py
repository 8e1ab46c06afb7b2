"""The volume that versions are stored on: its free and used bytes, and the removal of a folder."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

__all__ = ["free_bytes", "remove_tree", "used_bytes"]


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
