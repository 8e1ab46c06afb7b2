"""A file of a source and its place in the dataset: its split, its class and its source, or why it has none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from training.data.class_names import normalise_label
from training.data.ingest.foreign_files import is_system_file
from training.data.ingest.label_rows import LabelMatches
from training.data.ingest.layouts import DETECTION_FOLDERS, SPLIT_OF, explain_misplaced
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason, readable

__all__ = [
    "ADDED",
    "UNSPLIT",
    "ClassFolder",
    "Entry",
    "IgnoredFile",
    "PhotoPlacement",
    "SourceFile",
    "class_folders",
    "has_photo_suffix",
    "make_entry",
    "read_entry",
    "splits_folder",
]

ADDED = "added"
"""The source of photos with --split and without --source."""

UNSPLIT = ""
"""The split of photos that no folder names, until `training.data.ingest.test_share` gives them one."""

LIKE_A_SPLIT = re.compile(r"train|test|val|dev|eval", re.IGNORECASE)
"""The begin of a folder's name that is meant as a split's, though it is not one of `SPLIT_OF`."""

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file where a photo should be: its path for people, its place and its bytes.

    `folder` holds the splits. Photos of one `group` stay in one split; empty: it is in no group.
    """

    path: str
    name: str
    folder: str
    split: str
    label: str
    body: bytes
    group: str = ""


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
        labels: the label file that was given; None: there is none, but folders may have metadata.
    """

    split: str | None
    label: str | None
    largest: int
    unsplit: bool = False
    reads: Callable[[str], bool] = _read_all
    labels: LabelMatches | None = None

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
            return explain_misplaced([*map(readable, parts[:-1])]) if is_inside or has_photo_suffix(parts[-1]) else None
        if split is not None:
            return f"it is in a folder {parts[-3]!r} already: leave out --split for a source with its own splits"
        if self.label is not None:
            return self.split, self.label
        if len(parts) >= 3:
            return self.split, parts[-2]
        return "no folder names its class: give --label" if has_photo_suffix(parts[-1]) else None


def has_photo_suffix(name: str) -> bool:
    """Whether a file's name ends as a photo's does."""
    return PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES


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
    return read_entry(SourceFile(shown, readable(parts[-1]), folder, *place, b""), placing, read)


def read_entry(file: SourceFile, placing: PhotoPlacement, read: Callable[[], bytes]) -> SourceFile | RejectedPhoto:
    """Read a file that has a place.

    Args:
        file: the file, with its class as somebody wrote it, and without its bytes.
        placing: knows whether they are needed.
        read: returns its bytes, or raises `PhotoRejected`.
    """
    try:
        label = normalise_label(file.label)
    except ValueError as error:
        return RejectedPhoto(file.path, RejectionReason.UNKNOWN_CLASS, str(error))
    try:
        return replace(file, label=label, body=read() if placing.reads(label) else b"")
    except PhotoRejected as error:
        return RejectedPhoto(file.path, error.reason, error.detail)


def splits_folder(parts: tuple[str, ...], placing: PhotoPlacement, fallback: str) -> str:
    """Return the name of the folder that holds the splits."""
    if placing.split is not None:
        return ADDED
    if placing.unsplit and isinstance(place := placing.place(parts), tuple) and place[0] == UNSPLIT:
        return readable(parts[-3])
    return readable(parts[-4] if len(parts) >= 4 else fallback)


def class_folders(parts: tuple[str, ...], placing: PhotoPlacement) -> Iterator[ClassFolder]:
    """Yield a folder for the photos of a class, if this is one."""
    place = placing.place((*parts, "photo.jpg"))
    if isinstance(place, tuple) and placing.label is None and place[0] != UNSPLIT:  # it may hold folders of classes
        try:
            yield ClassFolder(place[0], normalise_label(place[1]))
        except ValueError:
            return  # its files are rejected, with the reason
