"""The files of a version folder: what identifies them, and whether their writer has finished."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["SETTLE_S", "VersionFiles", "scan_files"]

SETTLE_S = 2.0
"""Seconds without a change after which the files of a folder count as written."""
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
_MAX_FILES, _MAX_DEPTH = 10_000, 8


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The files of a version folder at one moment. Two equal values: nothing was changed in between.

    Attributes:
        target: the folder, with its symbolic links resolved.
        files: path, size in bytes, modification time and change time (both in ns) of each file, sorted. A copy may
            preserve the modification time; nothing preserves the change time. Inode numbers are left out: some network
            file systems invent new ones.
        changed_ns: the newest change time of a file or a folder under the version folder, in ns since 1970.
        finished: the folder itself was changed after everything under it, but no entry was added: it was renamed, or
            a copy set its attributes last. So its writer has finished.
    """

    target: str
    files: tuple[tuple[str, int, int, int], ...]
    changed_ns: int
    finished: bool

    @property
    def has_graph(self) -> bool:
        """Whether there is a SavedModel's graph."""
        return any(path in _GRAPHS for path, *_ in self.files)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(size for _, size, _, _ in self.files)

    def same_content(self, other: VersionFiles | None) -> bool:
        """Whether both were scanned from the same, unchanged files."""
        return other is not None and (self.target, self.files) == (other.target, other.files)

    def is_settled(self, unchanged_s: float, now_ns: int) -> bool:
        """Whether nobody writes the files any more, as far as can be seen.

        Args:
            unchanged_s: for how many seconds the files have been seen unchanged.
            now_ns: the time in ns since 1970; the clock of a file server may differ from it.
        """
        return self.finished or unchanged_s >= SETTLE_S or now_ns - self.changed_ns >= SETTLE_S * 1e9


def scan_files(folder: Path) -> VersionFiles | None:
    """Examine the files of a version folder, without reading them; None: there is no such folder.

    Raises:
        ServingError: a file or a folder in it may not be read.
    """
    files: list[tuple[str, int, int, int]] = []
    folders = [(str(folder), "", 0)]
    newest = 0
    try:
        top = folder.stat()
        while folders and len(files) < _MAX_FILES:
            path, prefix, depth = folders.pop()
            for entry in _entries(path):
                with suppress(FileNotFoundError):  # removed during the scan, or a link to nothing
                    stat = entry.stat()
                    newest = max(newest, stat.st_ctime_ns)
                    if not entry.is_dir():
                        files.append((prefix + entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
                    elif depth < _MAX_DEPTH:
                        folders.append((entry.path, f"{prefix}{entry.name}/", depth + 1))
        target = os.path.realpath(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ServingError(StatusCode.PERMISSION_DENIED, f"{folder} cannot be read: {error}") from error
    finished = top.st_ctime_ns > top.st_mtime_ns and top.st_ctime_ns >= newest
    return VersionFiles(target, tuple(sorted(files)), max(newest, top.st_ctime_ns), finished)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)
