"""Folders on file systems of their own that are full, read-only or out of inodes.

They are real where this process may mount them (root). Elsewhere a limit on the size of files (RLIMIT_FSIZE) makes every
write fail, which no folder is to blame for: `SmallDisk.is_real` tells.
"""

from __future__ import annotations

import resource
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Literal

__all__ = ["DiskFault", "SmallDisk"]

DiskFault = Literal["full", "read-only", "out of inodes"]


class SmallDisk:
    """A folder that cannot be written, until `release`; what the folder holds stays readable.

    Args:
        folder: the folder, made if it is missing.
        fault: what is wrong with it.
    """

    def __init__(self, folder: Path, fault: DiskFault = "full") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder = self.folder = folder.absolute()
        self.is_removed = False
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        inodes = ",nr_inodes=64" if fault == "out of inodes" else ""
        options = ["mount", "-t", "tmpfs", "-o", f"size=16m,mode=0777{inodes}", "none", str(folder)]
        self.is_real = subprocess.run(options, check=False, capture_output=True).returncode == 0
        if not self.is_real:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._limits[1]))
        elif fault == "full":
            self._fill()
        elif fault == "out of inodes":
            with suppress(OSError):
                for number in range(100):
                    (folder / f".ballast{number}").touch()
        else:
            self._remount("ro")

    def _fill(self) -> None:
        with (self.folder / ".ballast0").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def release(self) -> None:
        """Make the folder writable, with room."""
        if not self.is_real:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
            return
        self._remount("rw,size=256m")
        for ballast in self.folder.glob(".ballast*"):
            ballast.unlink()

    def remove(self) -> None:
        """End the file system, if there is one."""
        if self.is_removed:
            return
        self.is_removed = True
        self.release()
        if self.is_real:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
