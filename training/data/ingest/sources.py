"""Folders, archives and single photos → one stream of files, each with its split, class and source folder.

An archive is read member by member and never unpacked, so no name in it can reach the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from orchard.errors import DataError
from training.data.ingest.archive_member import ArchiveMember, MemberKind
from training.data.ingest.archives import is_archive, walk_members
from training.data.ingest.foreign_files import describe
from training.data.ingest.label_files import METADATA, read_file
from training.data.ingest.layouts import LAYOUT
from training.data.ingest.placement import (
    ADDED,
    Entry,
    IgnoredFile,
    PhotoPlacement,
    class_folders,
    has_photo_suffix,
    make_entry,
    splits_folder,
)
from training.data.ingest.source_labels import SourceLabels, read_labels
from training.data.ingest.zip_archives import is_zip
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason, readable

__all__ = ["PhotoSource", "Source", "walk"]


class PhotoSource(Protocol):
    """A source other than a path."""

    def walk(self, placing: PhotoPlacement) -> Iterator[Entry]:
        """Yield an entry for everything in it."""


Source = Path | PhotoSource


def walk(source: Source, placing: PhotoPlacement) -> Iterator[Entry]:
    """Yield an entry for everything in a source, in its order (folders: by name).

    Raises:
        DataError: the source does not exist, or an archive is damaged or of an unknown kind.
    """
    if not isinstance(source, Path):
        yield from source.walk(placing)
    elif source.is_dir():
        yield from _walk_folder(source, placing)
    elif source.is_fifo():  # `tar c photos | orchard ingest /dev/stdin`
        yield from _Archive(source, placing).walk()
    elif source.is_file():
        yield from _Archive(source, placing).walk() if is_archive(source) else _single_file(source, placing)
    else:
        raise DataError(f"there is no source {source}", hint=f"{LAYOUT}; or give --split, and --label")


def _too_large(size: int, placing: PhotoPlacement) -> PhotoRejected:
    return PhotoRejected(
        RejectionReason.TOO_LARGE, f"{size} bytes; the limit is {placing.largest} (`bytes` in the schema)"
    )


def _read_file(path: Path, placing: PhotoPlacement) -> bytes:
    """Read a regular file; anything else is rejected, without waiting for it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PhotoRejected(RejectionReason.SPECIAL, "not a regular file")
            body = file.read(placing.largest + 1)
    except OSError as error:
        raise PhotoRejected(RejectionReason.UNREADABLE, error.strerror or str(error)) from error
    if len(body) > placing.largest:
        raise _too_large(status.st_size, placing)
    return body


def _single_file(path: Path, placing: PhotoPlacement) -> Iterator[Entry]:
    if placing.split is None or placing.label is None:
        raise _not_a_source(path)
    parts = (path.absolute().parent.name or "photos", path.name)
    yield make_entry(str(path), parts, ADDED, placing, partial(_read_file, path, placing))


def _not_a_source(path: Path) -> DataError:
    """Name a file that is given as a source and is neither an archive nor, without a class, a photo."""
    with path.open("rb") as file:
        begin = file.read(4096)
    if not begin or has_photo_suffix(path.name):
        kind, hint = "its class is unknown", "for a single photo give --split and --label"
    else:
        kind = f"it is {describe(begin)}"
        hint = "then give the folder as SOURCE; for a single photo give --split and --label"
    return DataError(f"{path} is neither a folder nor an archive: {kind}", hint=hint)


def _walk_folder(source: Path, placing: PhotoPlacement) -> Iterator[Entry]:
    # the name that the user wrote, also of a link
    top = source.resolve() if source.name in {"", ".."} else source.absolute()
    labels = SourceLabels(str(source), top.name, is_packed=False, placing=placing)
    for path in _metadata_files(source):
        if labels.wants(parts := path.relative_to(source).parts):
            labels.add(parts, read_file(path))
    for where, folders, files in os.walk(source, onerror=_raise):
        here = shown = Path(where)
        inside = here.relative_to(source).parts
        parts = (top.name, *inside)
        folders.sort()
        if not labels.covers(inside):
            yield from class_folders(parts, placing)
        for name in folders:
            if (here / name).is_symlink() and not name.startswith("."):
                detail = "links to folders are not followed: give its target as a source"
                yield RejectedPhoto(readable(str(shown / name)), RejectionReason.MISPLACED, detail)
        for name in sorted(files):
            read = partial(_read_file, here / name, placing)
            yield labels.make_entry(str(shown / name), (*inside, name), read) or make_entry(
                str(shown / name),
                (*parts, name),
                splits_folder((*parts, name), placing, top.parent.name),
                placing,
                read,
            )
    yield from labels.missing()


def _metadata_files(source: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(source, onerror=_raise):
        folders.sort()
        yield from (Path(where, name) for name in METADATA if name in files)


def _raise(error: OSError) -> None:
    raise DataError(
        f"a folder cannot be read: {error}",
        hint="nothing was ingested, because unreadable folders are not left out: repair it and run again",
    )


class _Archive:
    """An archive as a source."""

    def __init__(self, source: Path, placing: PhotoPlacement) -> None:
        self._source, self._placing = source, placing
        self._stem = source.name.split(".")[0]
        self._folders: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self._labels = SourceLabels(str(source), self._stem, is_packed=True, placing=placing)

    def walk(self) -> Iterator[Entry]:
        """Yield an entry for each member."""
        if is_zip(self._source):  # its directory says where metadata is; in a tar it is met on the way
            for _ in walk_members(self._source, self._add_metadata):
                continue
        yield from walk_members(self._source, self._entries)
        for inside, parts in self._folders:  # now it is known which of them have metadata
            if not self._labels.covers(inside):
                yield from class_folders(parts, self._placing)
        yield from self._labels.missing()

    def _add_metadata(self, member: ArchiveMember) -> tuple[()]:
        if member.kind is MemberKind.FILE and not member.leads_out and self._labels.wants(member.parts):
            self._labels.add(member.parts, read_labels(member, self._source))
        return ()

    def _entries(self, member: ArchiveMember) -> Iterator[Entry]:
        path = f"{self._source}:{member.name}"
        shown = readable(path)
        # without folders of splits, a class may be the archive's outermost folder, as in a source that is a folder
        inside, placing = member.parts, self._placing
        outermost = placing.split or (placing.unsplit and len(inside) == 2 and has_photo_suffix(inside[-1]))
        parts = (*([self._stem] if outermost else []), *inside)
        if member.leads_out:
            yield RejectedPhoto(shown, RejectionReason.UNSAFE, "its name leads out of the archive")
        elif member.kind is MemberKind.LINK:
            yield RejectedPhoto(shown, RejectionReason.LINK, member.link)
        elif member.kind is MemberKind.OTHER:
            yield RejectedPhoto(shown, RejectionReason.SPECIAL, str(member.kind.value))
        elif member.kind is MemberKind.FOLDER:
            self._folders.append((inside, parts))
        elif inside:
            yield self._file(member, path, parts)

    def _file(self, member: ArchiveMember, path: str, parts: tuple[str, ...]) -> Entry:
        inside, placing = member.parts, self._placing
        if self._labels.wants(inside) and not is_zip(self._source):
            self._add_metadata(member)
            return IgnoredFile(readable(path))
        read = partial(_read_member, member, placing)
        labelled = self._labels.make_entry(path, inside, read)
        return labelled or make_entry(path, parts, splits_folder(parts, placing, self._stem), placing, read)


def _read_member(member: ArchiveMember, placing: PhotoPlacement) -> bytes:
    if member.size > placing.largest:
        raise _too_large(member.size, placing)
    return member.read()
