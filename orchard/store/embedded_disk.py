"""Whether the disk of the embedded store is full: SeaweedFS itself answers only that it has an internal error."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchard import disk
from orchard.settings import Settings

__all__ = ["embedded_folder", "full_disk"]

_FULL_SHARE = 0.01
"""SeaweedFS writes nothing where less of the disk is free."""


def full_disk(directory: Path) -> str:
    """Return what to do if the disk of a store's directory is so full that SeaweedFS writes nothing more; else empty."""
    total, free = shutil.disk_usage(directory).total, disk.free_bytes(directory)
    if free >= max(_FULL_SHARE * total, disk.RESERVE):
        return ""
    return (
        f"make room on the disk of {directory}, which has {free / 1e6:,.1f} MB free (SeaweedFS writes nothing where less "
        "than 1 % is free); `orchard prune` and `orchard housekeeping` delete what is old"
    )


def embedded_folder(settings: Settings) -> Path | None:
    """Return the directory of the embedded store that the settings name; None: they name another store."""
    credentials = settings.store_credentials_file
    folder = None if credentials is None else credentials.parent
    return folder if folder and (folder / "running.json").exists() and (folder / "identities.json").exists() else None
