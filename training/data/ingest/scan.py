"""Every file of every source, decoded once: what may become rows, what is refused and why.

Photos' bytes go into one spool file in the staging folder as they come, so memory does not grow with the sources.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import IO

from training.data.ingest.decode import DecodedPhoto, inspect
from training.data.ingest.sources import ClassFolder, Entry, IgnoredFile, SourceFile
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason
from training.data.schema import SchemaRules

__all__ = ["ClassCounts", "ScannedPhoto", "SourceScan", "scan"]

BATCH_FILES = 32
BATCH_BYTES = 4_000_000
"""What one thread decodes at a time: large enough that handing it over costs nothing, small enough for memory."""


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Which classes there may be.

    Attributes:
        wanted: take only these and leave the others out; None: all.
        known: any other is a mistake; None: there is no list.
    """

    wanted: frozenset[str] | None
    known: frozenset[str] | None

    def judge(self, label: str) -> str | None:
        """Return what is wrong with a class, or None if it may be."""
        if self.known is None or label in self.known:
            return None
        near = difflib.get_close_matches(label, self.known, n=1)
        return f"{label!r} is none of the {len(self.known)} classes" + (f"; did you mean {near[0]!r}?" if near else "")


@dataclass(frozen=True, slots=True)
class ScannedPhoto:
    """A photo that may become a row; its bytes lie in the spool from `offset` on, or nowhere if `offset` is -1."""

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


@dataclass(slots=True)
class SourceScan:
    """What was found.

    Attributes:
        rows: decoded photos, in the order of the sources.
        refused: files that are no photo of this dataset.
        changed: (path, what was done) of photos whose bytes were written anew.
        left_out: photos by class, of classes that were not wanted.
        folders: (split, class) of every folder seen, empty ones included.
        ignored: files that claim to be nothing.
        files: how many files were judged: `rows` and `refused`.
    """

    rows: list[ScannedPhoto] = field(default_factory=list)
    refused: list[RejectedPhoto] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    folders: set[tuple[str, str]] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many files were judged."""
        return len(self.rows) + len(self.refused)


Judged = tuple[SourceFile, DecodedPhoto | RejectedPhoto]


def _decode(batch: list[SourceFile], rules: SchemaRules) -> list[Judged]:
    decoded: list[Judged] = []
    for found in batch:
        try:
            decoded.append((found, inspect(found.body, rules)))
        except PhotoRejected as unfit:
            decoded.append((found, RejectedPhoto(found.path, unfit.reason, unfit.detail)))
    return decoded


def _batches(entries: Iterable[Entry], classes: ClassCounts, result: SourceScan) -> Iterator[list[SourceFile]]:
    """Sort entries into `result`; yield those that have to be decoded, some at a time."""
    batch: list[SourceFile] = []
    size = 0
    for entry in entries:
        if isinstance(entry, RejectedPhoto):
            result.refused.append(entry)
        elif isinstance(entry, IgnoredFile):
            result.ignored.append(entry.path)
        elif classes.wanted is not None and entry.label not in classes.wanted:
            result.left_out[entry.label] += isinstance(entry, SourceFile)
        elif isinstance(entry, ClassFolder):
            result.folders.add((entry.split, entry.label))
        elif wrong := classes.judge(entry.label):
            result.refused.append(RejectedPhoto(entry.path, RejectionReason.UNKNOWN_CLASS, wrong))
        else:
            batch.append(entry)
            size += len(entry.body)
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _in_threads(batches: Iterator[list[SourceFile]], rules: SchemaRules) -> Iterator[list[Judged]]:
    """Decode batches in as many threads as there are cores (the decoders let go of the interpreter), in order."""
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[Future[list[Judged]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for batch in batches:
            waiting.append(pool.submit(_decode, batch, rules))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def scan(
    entries: Iterable[Entry],
    *,
    classes: ClassCounts,
    rules: SchemaRules,
    name_source: Callable[[str], str],
    present: Collection[str],
    spool: IO[bytes],
    progress: Callable[[Iterator[Judged]], Iterator[Judged]],
) -> SourceScan:
    """Decode every file.

    Args:
        entries: what `training.data.ingest.sources.walk` gives, of all sources.
        classes: which classes there may be.
        rules: what photos must be.
        name_source: a source's folder → the name of the source in the dataset.
        present: `pixels_sha256` of photos that the dataset has already: their bytes need no spool.
        spool: where bytes go.
        progress: shows how far it got.

    Raises:
        DataError: a source cannot be read.
        OSError: the spool cannot be written.
    """
    result = SourceScan()
    offset = 0
    for found, photo in progress(chain.from_iterable(_in_threads(_batches(entries, classes, result), rules))):
        if isinstance(photo, RejectedPhoto):
            result.refused.append(photo)
            continue
        kept = photo.pixels_sha256 not in present
        result.rows.append(_row(found, photo, name_source(found.folder), offset if kept else -1))
        if photo.changed:
            result.changed.append((found.path, photo.changed))
        if kept:
            offset += spool.write(photo.body)
    spool.flush()
    return result


def _row(found: SourceFile, photo: DecodedPhoto, source: str, offset: int) -> ScannedPhoto:
    return ScannedPhoto(
        found.path,
        found.name,
        found.label,
        found.split,
        source,
        photo.sha256,
        photo.pixels_sha256,
        photo.width,
        photo.height,
        offset,
        len(photo.body),
    )
