"""Whether there is memory for one more version: an out-of-memory kill would take the versions that serve down too."""

from __future__ import annotations

import os
from pathlib import Path

from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["available_memory", "require_memory"]

FILES_TO_MEMORY = 1.2
"""TF Serving's own estimate of what a version takes: its files' size and a fifth more."""

_CGROUP = Path("/sys/fs/cgroup")


def _cgroup_room() -> int | None:
    """Bytes that the container may still take, or None without a limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        cache = 0
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                cache = int(line.split()[1])  # page cache that is given back when memory is needed
        return None if limit == "max" else int(limit) - used + cache
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Return the bytes that this process may still take, or None where that cannot be known."""
    rooms = [_cgroup_room()]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        rooms.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")))
    except (OSError, ValueError, StopIteration):
        pass
    known = [room for room in rooms if room is not None]
    return min(known) if known else None


def require_memory(folder: Path) -> None:
    """Refuse to load a version that would not fit. Raises `ServingError` RESOURCE_EXHAUSTED."""
    size = sum((Path(parent) / name).stat().st_size for parent, _, names in os.walk(folder) for name in names)
    needed, room = int(size * FILES_TO_MEMORY), available_memory()
    if room is not None and needed > room:
        raise ServingError(
            StatusCode.RESOURCE_EXHAUSTED,
            f"{folder} needs about {needed >> 20} MiB of memory; {room >> 20} MiB are left",
        )
