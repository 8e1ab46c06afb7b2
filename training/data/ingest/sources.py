"""Folders, tar archives and single photos → one stream of files, each with its split, class and source folder.

A tar archive is read as a stream and never unpacked, so no name in it can reach the disk.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from orchard.errors import DataError
from training.data.ingest.archives import is_tar, walk_members
from training.data.ingest.foreign_files import describe, is_system_file
from training.data.ingest.layouts import DETECTION_FOLDERS, LAYOUT, SPLIT_OF, explain_misplaced
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason, readable

__all__ = [
    "ADDED",
    "UNSPLIT",
    "ClassFolder",
    "Entry",
    "IgnoredFile",
    "PhotoPlacement",
    "PhotoSource",
    "Source",
    "SourceFile",
    "make_entry",
    "normalise_label",
    "walk",
]

ADDED = "added"
"""The source of photos with --split and without --source."""

UNSPLIT = ""
"""The split of photos that no folder names, until `training.data.ingest.test_share` gives them one."""

LIKE_A_SPLIT = re.compile(r"train|test|val|dev|eval", re.IGNORECASE)
"""The begin of a folder's name that is meant as a split's, though it is not one of `SPLIT_OF`."""

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
MAX_NAME_LETTERS = 120


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file where a photo should be: its path for people, its place and its bytes. `folder` holds the splits."""

    path: str
    name: str
    folder: str
    split: str
    label: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A folder for the photos of a class, empty or not."""

    split: str
    label: str


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file that is not meant to be a photo: a licence, a list, a file manager's own file."""

    path: str


Entry = SourceFile | ClassFolder | IgnoredFile | RejectedPhoto


def _read_all(label: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class PhotoPlacement:
    """How files get their split and class.

    Attributes:
        split: the split of all files; None: their folders name it.
        label: the class of all files; None: their folders name it.
        largest: the limit on a file's bytes.
        unsplit: whether to take photos whose folders name a class but no split.
        reads: whether the bytes of another photo of a class are read; else they are empty, for who only counts.
    """

    split: str | None
    label: str | None
    largest: int
    unsplit: bool = False
    reads: Callable[[str], bool] = _read_all

    def place(self, parts: tuple[str, ...]) -> tuple[str, str] | str | None:
        """Find the split and class of a file from its path, which begins with the source's first folder.

        Returns:
            Split and class; a text why it has none; or None if it is not meant to be a photo.
        """
        if any(map(is_system_file, parts)) or any(part.startswith(".") for part in parts[1:]):
            return None
        split = SPLIT_OF.get(parts[-3].lower()) if len(parts) >= 3 else None
        if self.split is None:
            if split is not None and parts[-2].lower() not in DETECTION_FOLDERS:
                return split, parts[-2]
            if self.unsplit and len(parts) >= 3 and not (len(parts) >= 4 and LIKE_A_SPLIT.match(parts[-3])):
                return UNSPLIT, parts[-2]
            is_inside = any(part.lower() in SPLIT_OF for part in parts[:-2])
            return explain_misplaced([*map(readable, parts[:-1])]) if is_inside or _has_suffix(parts[-1]) else None
        if split is not None:
            return f"it is in a folder {parts[-3]!r} already: leave out --split for a source with its own splits"
        if self.label is not None:
            return self.split, self.label
        if len(parts) >= 3:
            return self.split, parts[-2]
        return "no folder names its class: give --label" if _has_suffix(parts[-1]) else None


def _has_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES


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
    elif source.is_file():
        yield from _walk_tar(source, placing) if is_tar(source) else _single_file(source, placing)
    else:
        raise DataError(f"there is no source {source}", hint=f"{LAYOUT}; or give --split, and --label")


def normalise_label(label: str) -> str:
    """Return a class's name in the form that is compared. Raises `ValueError` if it is not a valid name."""
    name = unicodedata.normalize("NFC", label.strip())
    if not name or len(name) > MAX_NAME_LETTERS or readable(name) != name:
        raise ValueError(
            f"{readable(label)!r} is not a valid name of a class: expected up to {MAX_NAME_LETTERS} printable characters"
        )
    return name


def make_entry(
    path: str, parts: tuple[str, ...], folder: str, placing: PhotoPlacement, read: Callable[[], bytes]
) -> Entry:
    """Find the split and class of a file, and read it if it has them.

    Args:
        path: its path for people.
        parts: its path in the source, which begins with the source's first folder.
        folder: the name of the folder that holds the splits.
        placing: finds its split and class.
        read: returns its bytes, or raises `PhotoRejected`.
    """
    shown = readable(path)
    place = placing.place(parts)
    if place is None:
        return IgnoredFile(shown)
    if isinstance(place, str):
        return RejectedPhoto(shown, RejectionReason.MISPLACED, place)
    try:
        label = normalise_label(place[1])
    except ValueError as error:
        return RejectedPhoto(shown, RejectionReason.UNKNOWN_CLASS, str(error))
    try:
        body = read() if placing.reads(label) else b""
        return SourceFile(shown, readable(parts[-1]), folder, place[0], label, body)
    except PhotoRejected as error:
        return RejectedPhoto(shown, error.reason, error.detail)


def _splits_folder(parts: tuple[str, ...], placing: PhotoPlacement, fallback: str) -> str:
    """Return the name of the folder that holds the splits."""
    if placing.split is not None:
        return ADDED
    if placing.unsplit and isinstance(place := placing.place(parts), tuple) and place[0] == UNSPLIT:
        return readable(parts[-3])
    return readable(parts[-4] if len(parts) >= 4 else fallback)


def _class_folder(parts: tuple[str, ...], placing: PhotoPlacement) -> Iterator[ClassFolder]:
    place = placing.place((*parts, "photo.jpg"))
    if isinstance(place, tuple) and placing.label is None and place[0] != UNSPLIT:  # it may hold folders of classes
        try:
            yield ClassFolder(place[0], normalise_label(place[1]))
        except ValueError:
            return  # its files are rejected, with the reason


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
    if not begin or _has_suffix(path.name):
        kind, hint = "its class is unknown", "for a single photo give --split and --label"
    else:
        kind = f"it is {describe(begin)}"
        hint = "then give the folder as SOURCE; for a single photo give --split and --label"
    return DataError(f"{path} is neither a folder nor a tar archive: {kind}", hint=hint)


def _walk_folder(source: Path, placing: PhotoPlacement) -> Iterator[Entry]:
    # the name that the user wrote, also of a link
    top = source.resolve() if source.name in {"", ".."} else source.absolute()
    for where, folders, files in os.walk(source, onerror=_raise):
        here = shown = Path(where)
        parts = (top.name, *here.relative_to(source).parts)
        folders.sort()
        yield from _class_folder(parts, placing)
        for name in folders:
            if (here / name).is_symlink() and not name.startswith("."):
                detail = "links to folders are not followed: give its target as a source"
                yield RejectedPhoto(readable(str(shown / name)), RejectionReason.MISPLACED, detail)
        for name in sorted(files):
            read = partial(_read_file, here / name, placing)
            yield make_entry(
                str(shown / name),
                (*parts, name),
                _splits_folder((*parts, name), placing, top.parent.name),
                placing,
                read,
            )


def _raise(error: OSError) -> None:
    raise DataError(
        f"a folder cannot be read: {error}",
        hint="nothing was ingested, because unreadable folders are not left out: repair it and run again",
    )


def _walk_tar(source: Path, placing: PhotoPlacement) -> Iterator[Entry]:
    stem = source.name.split(".")[0]
    yield from walk_members(source, lambda archive, member: _member(archive, member, source, stem, placing))


def _member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, source: Path, stem: str, placing: PhotoPlacement
) -> Iterator[Entry]:
    path = f"{source}:{member.name}"
    shown = readable(path)
    pure = PurePosixPath(member.name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in member.name:
        yield RejectedPhoto(shown, RejectionReason.UNSAFE, "its name leads out of the archive")
        return
    # without folders of splits, a class may be the archive's outermost folder, as in a source that is a folder
    outermost = placing.split or (placing.unsplit and len(pure.parts) == 2 and _has_suffix(pure.name))
    parts = (*([stem] if outermost else []), *(part for part in pure.parts if part != "."))
    if member.issym() or member.islnk():
        detail = f"a link to {readable(member.linkname)!r}; make the archive with tar --dereference --hard-dereference"
        yield RejectedPhoto(shown, RejectionReason.LINK, detail)
    elif member.isdir():
        yield from _class_folder(parts, placing)
    elif not member.isfile():
        yield RejectedPhoto(shown, RejectionReason.SPECIAL, "neither a file nor a folder")
    elif parts:
        read = partial(_read_member, archive, member, placing)
        yield make_entry(path, parts, _splits_folder(parts, placing, stem), placing, read)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, placing: PhotoPlacement) -> bytes:
    if member.size > placing.largest:
        raise _too_large(member.size, placing)
    content = archive.extractfile(member)
    return b"" if content is None else content.read()
