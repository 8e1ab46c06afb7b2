"""Checks the memory before a version is loaded: an out-of-memory kill would end the served versions too."""

from __future__ import annotations

from pathlib import Path

from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["available_memory", "require_memory"]

FILES_TO_MEMORY = 1.2
"""TF Serving's own estimate of a version's memory: the size of its files and a fifth more."""

_CGROUP = Path("/sys/fs/cgroup")


def _cgroup_free() -> int | None:
    """Return the bytes that the container may still allocate; None: no limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        cache = 0
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                cache = int(line.split()[1])  # page cache that the kernel frees when memory is needed
        return None if limit == "max" else int(limit) - used + cache
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Return the bytes that this process may still allocate; None: unknown."""
    limits = [_cgroup_free()]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")))
    except (OSError, ValueError, StopIteration):
        pass
    known = [free for free in limits if free is not None]
    return min(known) if known else None


def require_memory(folder: Path, size: int) -> None:
    """Check that a version fits into memory.

    Args:
        folder: the version's folder.
        size: the bytes of its files.

    Raises:
        ServingError: RESOURCE_EXHAUSTED, it does not fit.
    """
    needed, free = int(size * FILES_TO_MEMORY), available_memory()
    if free is not None and needed > free:
        raise ServingError(
            StatusCode.RESOURCE_EXHAUSTED,
            f"{folder} needs about {needed >> 20} MiB of memory; {free >> 20} MiB are left",
        )
