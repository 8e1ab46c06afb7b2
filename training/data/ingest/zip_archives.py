"""Zip archives, member by member: nothing is unpacked, and no member can make memory or the disk full.

All of a file is read, or it is an error. A zip has its directory at its end, so one that was cut off has none. What is
before the first member or after the end is an error too: of archives that were joined, a reader sees only the last.
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from orchard.errors import DataError
from training.data.ingest.archive_member import ArchiveMember, MemberKind
from training.data.rejections import PhotoRejected, RejectionReason, readable

__all__ = ["is_zip", "member_names", "walk_zip"]

T = TypeVar("T")
MAGIC = {b"PK\x03\x04", b"PK\x05\x06"}
"""The first bytes: of a member, or of the end of an archive without one."""

END = b"PK\x05\x06"
END_BYTES, COUNT_AT = 22, 10
MANY = 0xFFFF
"""Counts more members than 16 bits can; older programs keep the lower 16 bits."""


MAX_DIRECTORY = 64 << 20
"""The largest directory of members that is read: more than 400,000 photos with names of usual length."""

PIECE = 4096
"""How many compressed bytes are unpacked at a time where the decoder cannot bound what it makes of them."""

ENCRYPTED = 0x1
UTF8 = 0x800
UNICODE_PATH = 0x7075
"""The extra field with a name in UTF-8, beside one that older programs can read."""

NO_END = "File is not a zip file"
"""What `zipfile` says of a file without an end record."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError)


class _BoundedReader(io.BufferedReader):
    """A file of which no large piece is read at once. `zipfile` reads the whole directory, however large it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes."""
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has {size} bytes; at most {MAX_DIRECTORY} are read")
        return super().read(size)


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does. A pipe is none: its directory would be at the end."""
    if path.is_fifo():
        return False
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def walk_zip(path: Path, visit: Callable[[ArchiveMember], Iterable[T]]) -> Iterator[T]:
    """Yield what `visit` yields for each member of an archive, in the order of their bytes in the file.

    Raises:
        DataError: the archive is damaged, was cut off, or has something before or after it.
    """
    with _BoundedReader(io.FileIO(path)) as file:
        try:
            archive = zipfile.ZipFile(file)
            members = _checked(archive, file)
        except (*_DAMAGED, NotImplementedError) as error:
            cause = "its directory is missing, as where it was cut off" if str(error) == NO_END else str(error)
            raise DataError(
                f"the archive {path} is damaged: {cause}; nothing was written",
                hint="download or make the archive again; or unpack it and give the folder",
            ) from error
        for info in members:
            yield from visit(_member(archive, info))


def member_names(path: Path) -> list[str]:
    """Return the names of all files in an archive, from its directory. Raises `DataError` as `walk_zip` does."""
    return list(walk_zip(path, lambda member: [member.name] if member.kind is MemberKind.FILE else []))


def _checked(archive: zipfile.ZipFile, file: _BoundedReader) -> list[zipfile.ZipInfo]:
    """Return the members in the order of their bytes. Raises `BadZipFile` if they are not all that the file has."""
    ordered = sorted(archive.infolist(), key=lambda info: info.header_offset)
    first = ordered[0].header_offset if ordered else 0
    if first:
        raise zipfile.BadZipFile(f"{first} bytes are before its first member, as where archives were joined")
    for before, after in pairwise(ordered):
        if before.header_offset + len(before.orig_filename) + before.compress_size > after.header_offset:
            raise zipfile.BadZipFile(
                f"members overlap, as in a zip bomb: {readable(after.filename)!r} and the one before"
            )
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - END_BYTES - len(archive.comment)))
    end = file.read(END_BYTES)
    if not end.startswith(END):
        raise zipfile.BadZipFile("something follows its end")
    (count,) = struct.unpack_from("<H", end, COUNT_AT)
    if count not in {len(ordered) & MANY, MANY}:
        raise zipfile.BadZipFile(f"its directory has {len(ordered)} members and counts {count}")
    return ordered


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> ArchiveMember:
    mode = stat.S_IFMT(info.external_attr >> 16)
    name = _name(info)
    kind = MemberKind.FOLDER if name.endswith("/") else MemberKind.FILE
    if mode not in {0, stat.S_IFREG, stat.S_IFDIR}:
        kind = MemberKind.LINK if mode == stat.S_IFLNK else MemberKind.OTHER
    link = "a symbolic link; make the archive with `zip -r` and without --symlinks" if kind is MemberKind.LINK else ""
    return ArchiveMember(name, kind, info.file_size, partial(_read, archive, info), link)


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name: UTF-8 where the archive says so or where no other encoding is likely, else code page 437."""
    name = info.orig_filename
    if not info.flag_bits & UTF8:
        raw = name.encode("cp437", "replace")
        with suppress(UnicodeDecodeError):
            name = _unicode_path(info.extra, raw) or raw.decode("utf-8")  # macOS writes UTF-8 and does not say so
    return name if "/" in name else name.replace("\\", "/")  # some programs on Windows write those


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """Return the name in UTF-8 of the extra fields, if it is that of the same file; else an empty text."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and field[:1] == b"\1" and field[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return field[5:].decode("utf-8")
    return ""


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & ENCRYPTED:
        detail = "encrypted: unpack the archive with its password, and give the folder"
        raise PhotoRejected(RejectionReason.UNREADABLE, detail)
    is_bounded = info.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    body = bytearray()
    try:
        with archive.open(info) as content:
            while piece := content.read(info.file_size + 1 if is_bounded else PIECE):
                body += piece
    except NotImplementedError as error:
        detail = f"packed in a way that is not supported ({error}): make the archive with deflate, or give the folder"
        raise PhotoRejected(RejectionReason.UNREADABLE, detail) from error
    except _DAMAGED as error:
        detail = f"the archive is damaged here: {readable(str(error))}; download or make it again"
        raise PhotoRejected(RejectionReason.DAMAGED, detail) from error
    if len(body) != info.file_size:
        detail = (
            f"the archive is damaged here: {len(body)} bytes instead of {info.file_size}; download or make it again"
        )
        raise PhotoRejected(RejectionReason.DAMAGED, detail)
    return bytes(body)
