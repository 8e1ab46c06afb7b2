"""Tar archives, compressed or not, as streams of members: all of a file is read, or it is an error. Zip archives too.

Archives and compressed files may be joined, as `cat a.tar b.tar` does: every part is read. An archive ends with blocks of
zeros. Without them it was cut off, and nothing but zeros or another archive may follow them.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from orchard.errors import DataError
from training.data.ingest.archive_member import ArchiveMember, MemberKind
from training.data.ingest.zip_archives import is_zip, walk_zip
from training.data.rejections import readable

__all__ = ["is_archive", "walk_members"]

CHUNK = 1 << 20
T = TypeVar("T")
END_BLOCKS = 2
"""How many blocks of zeros end an archive."""


def _header_type() -> type[tarfile.TarInfo]:
    """Return the type of one archive's headers, which counts the blocks of zeros since the last member.

    `tarfile` takes a damaged or missing header for the archive's end. Here it is an error.
    """

    class _Header(tarfile.TarInfo):
        zero_blocks = 0

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            if not buf and not cls.zero_blocks:
                raise tarfile.ReadError("its end is missing")
            if not buf or buf.count(0) == len(buf):
                cls.zero_blocks += 1
                return super().frombuf(buf, encoding, errors)  # raises what `tarfile` skips or ends with
            try:
                member = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                damaged = "what follows its end is not an archive" if cls.zero_blocks else "a header is damaged"
                raise tarfile.ReadError(f"{damaged} ({error})") from error
            if 0 < cls.zero_blocks < END_BLOCKS:
                raise tarfile.ReadError("zeros are in the place of a member")
            cls.zero_blocks = 0
            return member

    return _Header


class _JoinedStreams:
    """The content of joined compressed streams. The readers of `bz2` and `lzma` drop what follows one that is damaged."""

    def __init__(self, file: IO[bytes], start: Callable[[], Any]) -> None:
        self._file, self._start = file, start
        self._stream: Any = start()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end. Raises `EOFError`, `OSError` or `lzma.LZMAError`."""
        while True:
            begin = b""
            if self._stream.eof:
                begin = self._stream.unused_data.lstrip(b"\0")  # streams of xz may be padded
                while not begin:
                    piece = self._file.read(CHUNK)
                    if not piece:
                        return b""
                    begin = piece.lstrip(b"\0")
                self._stream = self._start()
            elif self._stream.needs_input:
                begin = self._file.read(CHUNK)
                if not begin:
                    raise EOFError("the compressed data ends before its end marker")
            piece = self._stream.decompress(begin, size)
            if piece:
                return bytes(piece)


def _unpack_zstd(file: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


UNPACK: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": lambda file: _JoinedStreams(file, bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": lambda file: _JoinedStreams(file, lzma.LZMADecompressor),
    b"\x28\xb5\x2f\xfd": _unpack_zstd,
}
"""The first bytes of compressed files, and their readers. All readers verify the checksum at the end of each stream."""


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, or compressed, which only an archive may be."""
    return is_zip(path) or _is_tar(path)


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        block = file.read(tarfile.BLOCKSIZE)
    if any(block.startswith(magic) for magic in UNPACK):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    """Open a file for reading, decompressed if it is compressed."""
    with path.open("rb") as file:
        begin = file.peek(8)  # the file may be a pipe
        yield next((unpack(file) for magic, unpack in UNPACK.items() if begin.startswith(magic)), file)


def walk_members(path: Path, visit: Callable[[ArchiveMember], Iterable[T]]) -> Iterator[T]:
    """Yield what `visit` yields for each member of an archive, which it may read.

    Raises:
        DataError: the archive is damaged, was cut off, or something else follows it.
    """
    yield from (walk_zip(path, visit) if is_zip(path) else _walk_tar(path, visit))


def _walk_tar(path: Path, visit: Callable[[ArchiveMember], Iterable[T]]) -> Iterator[T]:
    count = 0
    try:
        with (
            _stream(path) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_header_type(), ignore_zeros=True) as archive,
        ):
            for info in archive:
                count += 1
                yield from visit(_member(archive, info))
                archive.members = []  # type: ignore[attr-defined]  # a stream is not read again: keep memory flat
            while stream.read(CHUNK):  # to the end, where the checksum is
                continue
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"the archive {path} is damaged after {count} members: {error}; nothing was written",
            hint="download or make the archive again",
        ) from error


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> ArchiveMember:
    link = ""
    if info.issym() or info.islnk():
        kind = MemberKind.LINK
        link = f"a link to {readable(info.linkname)!r}; make the archive with tar --dereference --hard-dereference"
    elif info.isdir():
        kind = MemberKind.FOLDER
    else:
        kind = MemberKind.FILE if info.isfile() else MemberKind.OTHER
    return ArchiveMember(info.name, kind, info.size, partial(_read, archive, info), link)


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(info)
    return b"" if content is None else content.read()
