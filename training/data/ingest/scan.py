"""Decodes every file of every source once, into photos and rejections.

The photos' bytes go to one spool file in the staging folder, so memory does not grow with the sources.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import IO

from training.data.ingest.decode import DecodedPhoto, inspect
from training.data.ingest.placement import ClassFolder, Entry, IgnoredFile, SourceFile
from training.data.read_ahead import map_ahead
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason
from training.data.schema import SchemaRules

__all__ = ["AllowedClasses", "ScannedPhoto", "SourceScan", "scan"]

BATCH_FILES = 32
BATCH_BYTES = 4_000_000
"""The limits of what one thread decodes at a time: large enough to hide the cost of a task, small enough for memory."""


@dataclass(frozen=True, slots=True)
class AllowedClasses:
    """The allowed classes.

    Attributes:
        selected: leave out all others; None: take all.
        known: any other class is an error; None: there is no list.
    """

    selected: frozenset[str] | None
    known: frozenset[str] | None

    def problem(self, label: str) -> str | None:
        """Return why a class is not allowed, or None if it is."""
        if self.known is None or label in self.known:
            return None
        near = difflib.get_close_matches(label, self.known, n=1)
        return f"{label!r} is not one of the {len(self.known)} classes" + (
            f"; did you mean {near[0]!r}?" if near else ""
        )


@dataclass(frozen=True, slots=True)
class ScannedPhoto:
    """A photo that may become a row.

    Its bytes begin at `offset` in the spool; -1: they are not in the spool. `original` is the SHA-256 of the file that it
    was converted from; empty: it was not.
    """

    path: str
    name: str
    label: str
    split: str
    source: str
    sha256: str
    pixels_sha256: str
    width: int
    height: int
    offset: int
    length: int
    group: str = ""
    original: str = ""


@dataclass(slots=True)
class SourceScan:
    """The content of all sources.

    Attributes:
        rows: decoded photos, in the order of the sources.
        refused: files that are not photos of this dataset.
        changed: (path, change) of photos that were encoded again.
        notes: (path, note) of photos with something odd that changes nothing.
        left_out: the number of photos by class, of classes that were not selected.
        folders: (split, class) of every folder, also of empty ones.
        ignored: files that are not meant to be photos.
        found: how many entries the sources have, without folders: each is in one of the lists above.
    """

    rows: list[ScannedPhoto] = field(default_factory=list)
    refused: list[RejectedPhoto] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    folders: set[tuple[str, str]] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)
    found: int = 0

    @property
    def files(self) -> int:
        """How many files were checked: `rows` and `refused`."""
        return len(self.rows) + len(self.refused)


DecodedFile = tuple[SourceFile, DecodedPhoto | RejectedPhoto]


def _decode(batch: list[SourceFile], rules: SchemaRules) -> list[DecodedFile]:
    decoded: list[DecodedFile] = []
    for file in batch:
        try:
            decoded.append((file, inspect(file.body, rules)))
        except PhotoRejected as error:
            decoded.append((file, RejectedPhoto(file.path, error.reason, error.detail)))
    return decoded


def _batches(entries: Iterable[Entry], classes: AllowedClasses, result: SourceScan) -> Iterator[list[SourceFile]]:
    """Add entries to `result`; yield those that must be decoded, in batches."""
    batch: list[SourceFile] = []
    size = 0
    for entry in entries:
        result.found += not isinstance(entry, ClassFolder)
        if isinstance(entry, RejectedPhoto):
            result.refused.append(entry)
        elif isinstance(entry, IgnoredFile):
            result.ignored.append(entry.path)
        elif classes.selected is not None and entry.label not in classes.selected:
            result.left_out[entry.label] += isinstance(entry, SourceFile)
        elif isinstance(entry, ClassFolder):
            result.folders.add((entry.split, entry.label))
        elif problem := classes.problem(entry.label):
            result.refused.append(RejectedPhoto(entry.path, RejectionReason.UNKNOWN_CLASS, problem))
        else:
            batch.append(entry)
            size += len(entry.body)
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def scan(
    entries: Iterable[Entry],
    *,
    classes: AllowedClasses,
    rules: SchemaRules,
    name_source: Callable[[str], str],
    present: Collection[str],
    known: Mapping[str, str],
    spool: IO[bytes],
    progress: Callable[[Iterator[DecodedFile]], Iterator[DecodedFile]],
) -> SourceScan:
    """Decode every file.

    Args:
        entries: of `training.data.ingest.sources.walk`, for all sources.
        classes: the allowed classes.
        rules: the rules for photos.
        name_source: a source's folder → the name of the source in the dataset.
        present: `pixels_sha256` of the dataset's photos; their bytes are not written to the spool.
        known: SHA-256 of files, as the dataset stores them or before they were converted → `pixels_sha256` of the photo. A
            conversion by another release may give slightly other pixels; the same file is still the same photo.
        spool: the file for the photos' bytes.
        progress: shows the progress.

    Raises:
        DataError: a source cannot be read.
        OSError: the spool cannot be written.
    """
    result = SourceScan()
    offset = 0
    threads = min(8, os.cpu_count() or 1)  # one for each core: the decoders release the interpreter's lock
    batches = _batches(entries, classes, result)
    decoded = map_ahead(partial(_decode, rules=rules), batches, threads=threads, ahead=2 * threads)
    for file, photo in progress(chain.from_iterable(decoded)):
        if isinstance(photo, RejectedPhoto):
            result.refused.append(photo)
            continue
        photo = replace(photo, pixels_sha256=known.get(photo.original_sha256, photo.pixels_sha256))
        is_new = photo.pixels_sha256 not in present
        result.rows.append(_row(file, photo, name_source(file.folder), offset if is_new else -1))
        if photo.changed:
            result.changed.append((file.path, photo.changed))
        if photo.note:
            result.notes.append((file.path, photo.note))
        if is_new:
            offset += spool.write(photo.body)
    spool.flush()
    return result


def _row(file: SourceFile, photo: DecodedPhoto, source: str, offset: int) -> ScannedPhoto:
    return ScannedPhoto(
        file.path,
        file.name,
        file.label,
        file.split,
        source,
        photo.sha256,
        photo.pixels_sha256,
        photo.width,
        photo.height,
        offset,
        len(photo.body),
        file.group,
        photo.original_sha256 if photo.changed else "",
    )
