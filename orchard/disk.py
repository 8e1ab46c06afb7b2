"""Folders that cannot be written: full, read-only or forbidden. The error names the folder, its free space and what to do.

`require_space` refuses before the work begins; `writing_to` explains what fails while a folder is written; the command
`orchard` explains with `explain` what else ends a verb.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchard.errors import DiskError, OrchardError

__all__ = [
    "RESERVE",
    "device_of",
    "explain",
    "free_bytes",
    "full_folder",
    "require_space",
    "temporary_folder",
    "writing_to",
]

RESERVE = 8 << 20
"""What a program needs besides the files that it counts, in bytes: its databases, locks and logs."""

_FULL_TEXT = re.compile(r"no space left on device|database or disk is full|disk quota exceeded", re.IGNORECASE)
_READ_ONLY_TEXT = re.compile(r"read-only file system|attempt to write a readonly database", re.IGNORECASE)
_TEMPORARY_TEXT = "No usable temporary directory"
_NEARLY_FULL = 256 << 10
_WRITTEN = ("data", ".dvc", ".dvc/tmp", ".dvc/cache", "artifacts", ".orchard", ".orchard/store", ".")


def free_bytes(folder: Path) -> int:
    """Return how many bytes this user can write to the file system of a folder, or of its nearest parent that exists.

    0 where no further file can be created: a file system may have space, and no inode.
    """
    status = os.statvfs(_existing(folder))
    return 0 if status.f_files and not status.f_favail else status.f_bavail * status.f_frsize


def device_of(folder: Path) -> int:
    """Return the number of the file system of a folder, or of its nearest parent that exists."""
    return _existing(folder).stat().st_dev


def full_folder(folders: Iterable[Path]) -> Path | None:
    """Return the first folder whose file system has practically no space left, or None."""
    for folder in folders:
        with suppress(OSError):
            if folder.exists() and free_bytes(folder) < _NEARLY_FULL and os.statvfs(folder).f_blocks:
                return folder
    return None


def require_space(folder: Path, size: int, purpose: str) -> None:
    """Raise `DiskError` unless a folder can be written and `size` bytes and the reserve fit into it.

    Args:
        folder: the folder; it need not exist yet.
        size: the bytes that will be written.
        purpose: what needs them, for the message.
    """
    with writing_to(folder):
        existing = _existing(folder)
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        if os.statvfs(existing).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))
    if free_bytes(folder) < size + RESERVE:
        raise _full(folder, f", and {purpose} needs {_amount(size + RESERVE)}")


@contextmanager
def writing_to(folder: Path, kept: str = "") -> Iterator[None]:
    """Raise `DiskError` where the block cannot write, in place of the errors of Python, SQLite, pyarrow or TensorFlow.

    Args:
        folder: what the block writes to, for errors that name no file.
        kept: what is as it was before, for the message.
    """
    try:
        yield
    except OrchardError:
        raise
    except Exception as error:
        problem = explain(error, folder)
        if problem is None:
            raise
        raise DiskError(f"{problem.message}; {kept}" if kept else problem.message, hint=problem.hint) from error


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder for temporary files, which is deleted at the end; the block is one of `writing_to`."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise explain(error) or error from error
    with folder as name, writing_to(Path(name)):
        yield Path(name)


def explain(error: BaseException, folder: Path | None = None) -> DiskError | None:
    """Return what an error, or one of its causes, means if a folder could not be written; else None.

    Args:
        error: any error.
        folder: what was written, for errors that name no file; None: found by looking for a full one.
    """
    for cause in _causes(error):
        if isinstance(cause, OrchardError):
            continue  # its text may be that of a store
        if isinstance(cause, OSError) and (found := _explain_system(cause, folder)):
            return found
        text = str(cause)
        if _FULL_TEXT.search(text):
            return _full(folder or _suspect())
        if _READ_ONLY_TEXT.search(text):
            return _read_only(folder)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _explain_system(error: OSError, folder: Path | None) -> DiskError | None:
    """Explain an error of the system, if it is one of a folder."""
    name = error.filename2 if error.filename2 is not None else error.filename
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None
    place = _place(path, folder)
    if error.errno == errno.EFBIG:
        return _too_large(place)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(place or _suspect(), " (the quota is used up)" if error.errno == errno.EDQUOT else "")
    if error.errno == errno.EROFS:
        return _read_only(place)
    if error.errno == errno.EIO:
        return DiskError(
            f"{_called(place)} cannot be written or read: {error.strerror}", hint="check the disk: `dmesg`"
        )
    if _TEMPORARY_TEXT in str(error):
        return _no_temporary_folder()
    return None if path is None else _explain_path(error, path)


def _explain_path(error: OSError, path: Path) -> DiskError | None:
    """Explain an error about the rights or the kind of a file."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return DiskError(
            f"{path}: {error.strerror} for the user {os.getuid()}",
            hint=f"`ls -ld {path}` shows its owner and mode: correct them, or run the command as its owner",
        )
    if error.errno == errno.ENOTDIR or (error.errno == errno.EEXIST and path.exists() and not path.is_dir()):
        file = next((parent for parent in (path, *path.parents) if parent.exists() and not parent.is_dir()), path)
        return DiskError(f"{path} cannot be made: {file} is a file, and must be a folder", hint="move that file away")
    return None


def _place(path: Path | None, folder: Path | None) -> Path | None:
    """Return the folder to name: the one that was written if the path is in it, else the path's.

    A folder for temporary files is gone when the message is read: its parent is named.
    """
    inside = path is None or (folder is not None and folder.absolute() in (path.absolute(), *path.absolute().parents))
    place = folder if path is None or inside else path if path.is_dir() else path.parent
    is_ours = place is not None and place.name.startswith("orchard-") and place.absolute().parent == _temporary()
    return place.parent if place is not None and is_ours else place


def _suspect() -> Path | None:
    """Return a full folder among those that the verbs write."""
    serving = os.environ.get("ORCHARD_SERVING_DIR")
    others = [_temporary(), *([Path(serving)] if serving else []), Path(os.environ.get("HOME", "/"))]
    return full_folder([*map(Path, _WRITTEN), *others])


def _full(folder: Path | None, need: str = "") -> DiskError:
    if folder is None:
        return DiskError("no space is left on a disk", hint="`df -h` shows which: free some space, then run it again")
    existing = _existing(folder)
    status = os.statvfs(existing)
    amount = f"{_amount(free_bytes(folder))} free"
    what = f"no space is left in {_called(folder)}: its file system has {amount}{need}"
    if status.f_files and not status.f_favail:
        what = f"no file can be created in {_called(folder)}: its file system has no inode left"
    show = "df -i" if status.f_files and not status.f_favail else "df -h"
    return DiskError(
        what, hint=f"make room there (`{show} {existing}` shows it){_way_out(folder)}, then run the same command again"
    )


def _too_large(folder: Path | None) -> DiskError:
    return DiskError(
        f"no space is left for a file in {_called(folder)}: it reached the largest size that is allowed",
        hint="`ulimit -f` shows this shell's limit; the file system may have its own. Raise it, then run the same command again",
    )


def _read_only(folder: Path | None) -> DiskError:
    return DiskError(
        f"{_called(folder)} cannot be written: it is read-only",
        hint=f"mount it writable{_way_out(folder) if folder else ''}, or run the command in a folder that can be written",
    )


def _no_temporary_folder() -> DiskError:
    return DiskError(
        f"no temporary file can be made: {_temporary()}, /tmp, /var/tmp and this folder are full or cannot be written",
        hint="make room in one of them, or set TMPDIR to a folder that can be written",
    )


def _way_out(folder: Path) -> str:
    """Return how to use another folder instead, if there is a way."""
    inside = {folder.absolute(), *folder.absolute().parents}
    if folder.absolute() == Path(os.environ.get("ORCHARD_SERVING_DIR", "/nowhere")).absolute():
        return " or set ORCHARD_SERVING_DIR to another folder"
    if any(parent.name == ".dvc" for parent in inside):
        return " or move DVC's cache (`dvc cache dir FOLDER`)"
    if folder.absolute() == _temporary():
        return " or set TMPDIR to another folder"
    return ""


def _temporary() -> Path:
    """The folder for temporary files, without a look at whether it can be written."""
    name = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    return Path(os.fsdecode(name)).absolute()


def _existing(folder: Path) -> Path:
    absolute = folder.absolute()
    return next(parent for parent in (absolute, *absolute.parents) if parent.exists())


def _called(folder: Path | None) -> str:
    """Return the name of a folder for a message: from where the user stands, if it is below."""
    if folder is None:
        return "a folder"
    with suppress(ValueError):
        relative = folder.absolute().relative_to(Path.cwd())
        return f"{relative}/" if relative.parts else f"{folder.absolute()}/"
    return f"{folder.absolute()}/"


def _amount(size: int) -> str:
    """Return a number of bytes in MB."""
    return f"{size / 1e6:,.1f} MB"
