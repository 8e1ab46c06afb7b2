"""Files on disk: replaced as a whole, hashed, locked, and read again when they change."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Generic, Literal, TypeVar

from orchard.errors import OrchardError

__all__ = [
    "Stamp",
    "WatchedFile",
    "atomic_file",
    "atomic_write",
    "file_stamp",
    "fsync_directory",
    "hash_pieces",
    "locked",
    "md5_of",
    "sha256_of",
    "try_lock",
]

T = TypeVar("T")
Stamp = tuple[int, int, int]

_LOCK_POLL_S = 0.1
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")


def fsync_directory(folder: Path) -> None:
    """Flush a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path, *, fsync: bool = False, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a new file that replaces `path` at the end of the block; readers see the old file or the new one, never a part.

    If the block raises, `path` is unchanged and nothing else is left. A killed writer leaves a temporary file; the next
    write of the same file removes it.

    Args:
        path: the file; its folder must exist.
        fsync: flush the bytes and the folder to the disk, so that the new file survives a power cut.
        mode: the permissions of the new file, from its first byte on; None: the process's default.
    """
    _remove_leftovers(path)
    descriptor, temporary = _create_temporary(path, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:  # the lock is held until the file has its final name
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if fsync:
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if (
            isinstance(error, OSError) and error.errno is not None and error.filename is None
        ):  # of a write: it names no file
            error.filename = str(path)
        raise
    if fsync:
        fsync_directory(path.parent)


def _create_temporary(path: Path, mode: int) -> tuple[int, Path]:
    """Create a temporary file beside `path` and lock it: the kernel releases the lock when its writer ends."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with suppress(OSError):  # a file system without locks: then nobody can lock the file and remove it either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)  # another writer removed the file before the lock was taken


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed writers of `path`. Those of living writers are locked.

    A lock and not a process id decides: processes in two containers may share a folder and not their ids.
    """
    with suppress(OSError):  # a folder that cannot be listed
        for other in list(path.parent.iterdir()):
            match = _TEMPORARY.fullmatch(other.name)
            if match and match[1] == path.name:
                _remove_unlocked(other)


def _remove_unlocked(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # its writer has finished
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:  # its writer lives, or the file system has no locks
        return
    finally:
        os.close(descriptor)


def atomic_write(path: Path, body: bytes | str, *, fsync: bool = False, mode: int | None = None) -> None:
    """Replace a file as a whole with `body` (text: as UTF-8); see `atomic_file`."""
    with atomic_file(path, fsync=fsync, mode=mode) as file:
        file.write(body.encode("utf-8") if isinstance(body, str) else body)


def hash_pieces(
    pieces: Iterable[bytes], algorithm: Literal["sha256", "md5"] = "sha256", *, into: IO[bytes] | None = None
) -> tuple[str, int]:
    """Hash a stream.

    Args:
        pieces: the stream's bytes, in order.
        algorithm: MD5 is for DVC alone, which names files by it.
        into: the file that receives the bytes; None: they are only hashed.

    Returns:
        The digest in hexadecimal digits, and the number of bytes.
    """
    digest, size = hashlib.new(algorithm, usedforsecurity=algorithm != "md5"), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if into is not None:
            into.write(piece)
    return digest.hexdigest(), size


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, in hexadecimal digits, as DVC names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def try_lock(path: Path, mode: int = 0o644) -> int | None:
    """Take the kernel's exclusive lock on a file or a folder; it ends with the process, however that ends.

    Args:
        path: a folder that exists, or a file that is created if it is missing.
        mode: the permissions of a file that is created.

    Returns:
        The descriptor that holds the lock until it is closed; None: another descriptor holds the lock.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


@contextmanager
def locked(path: Path, *, wait_s: float = 0.0, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of `try_lock` for a block; yields False if it is still taken after the wait.

    Args:
        path: as in `try_lock`.
        wait_s: the longest wait for the current holder.
        on_wait: called once if the lock is taken.
    """
    deadline = time.monotonic() + wait_s
    descriptor = try_lock(path)
    if descriptor is None:
        on_wait()
    while descriptor is None and time.monotonic() < deadline:
        time.sleep(_LOCK_POLL_S)
        descriptor = try_lock(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def file_stamp(path: Path) -> Stamp | None:
    """Return what changes when a file is replaced or written; None if the file cannot be examined.

    That is the time of the last change of its status (in ns), its size and inode. A copy may preserve the modification
    time, but not this one.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ctime_ns, stat.st_size, stat.st_ino


class WatchedFile(Generic[T]):
    """The content of a file that another program replaces; any thread may read it.

    A name that leads to another file is a change too: Kubernetes replaces the files of a mounted Secret by moving a link.

    Args:
        path: the file.
        read: reads the file. Its errors are raised by the first read; after a later `OrchardError` or `OSError` the content
            before is kept.
        beside: files that `read` reads too, for example the key of a certificate.
        report: called once with the reason when the file is missing or cannot be used, again with another reason, and
            with a text that ends with "again" when it can be used once more.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        *,
        beside: Iterable[Path] = (),
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path = path
        self.report = report
        self._paths = (path, *beside)
        self._read = read
        self._lock = threading.Lock()
        self._problem = ""
        self._stamps = self._stamp()  # before the read: a change during the read is seen by the next `current`
        self._content = read(path)

    def current(self) -> T:
        """Return the content, read again if the file has changed; while it cannot be read, the content before."""
        with self._lock:
            stamps = self._stamp()
            if stamps != self._stamps or self._problem:
                self._note(self._read_again(stamps))
            return self._content

    def _read_again(self, stamps: tuple[Stamp | None, ...]) -> str:
        """Read the file; returns why that failed, or an empty text."""
        missing = [str(path) for path, stamp in zip(self._paths, stamps, strict=True) if stamp is None]
        if missing:
            return f"{missing[0]} is missing"
        try:
            self._content, self._stamps = self._read(self.path), stamps
        except OrchardError as error:
            return error.message
        except OSError as error:
            return f"{self.path} cannot be read: {error}"
        return ""

    def _stamp(self) -> tuple[Stamp | None, ...]:
        return tuple(map(file_stamp, self._paths))

    def _note(self, problem: str) -> None:
        """Report a change between usable and not."""
        if problem != self._problem:
            self._problem = problem
            self.report(f"{problem}; what was read before stays in use" if problem else f"{self.path} is used again")
