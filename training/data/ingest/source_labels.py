"""What label files say of the photos of one source: the file that was given, or metadata in the source's folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchard.errors import DataError
from training.data.ingest.archive_member import ArchiveMember, MemberKind
from training.data.ingest.archives import is_archive, walk_members
from training.data.ingest.foreign_files import is_system_file
from training.data.ingest.label_files import MAX_BYTES, METADATA, parse_labels, parse_metadata, read_label_file
from training.data.ingest.label_rows import LabelMatches, LabelRow, LabelTable
from training.data.ingest.layouts import SPLIT_OF
from training.data.ingest.placement import (
    ADDED,
    LIKE_A_SPLIT,
    UNSPLIT,
    Entry,
    IgnoredFile,
    PhotoPlacement,
    SourceFile,
    has_photo_suffix,
    read_entry,
)
from training.data.rejections import PhotoRejected, RejectedPhoto, RejectionReason, readable

__all__ = ["SourceLabels", "open_labels", "read_labels"]

Folder = tuple[str, ...]


class SourceLabels:
    """The label files of one source.

    Args:
        source: the source, for people.
        top: the name of the source's folder, or of the archive.
        is_packed: whether it is an archive, in which the source's folder may be the outermost one.
        placing: has the label file that was given; without it and --label, metadata in folders is used.
    """

    def __init__(self, source: str, top: str, *, is_packed: bool, placing: PhotoPlacement) -> None:
        self._source, self._top, self._is_packed, self._placing = source, top, is_packed, placing
        self._metadata: dict[Folder, LabelMatches] = {}
        self._seen: set[Folder] = set()

    def wants(self, parts: Folder) -> bool:
        """Whether a file may have metadata that counts.

        Args:
            parts: its path in the source.
        """
        is_own = any(is_system_file(part) or part.startswith(".") for part in parts)
        return bool(parts) and parts[-1] in METADATA and not (is_own or self._placing.labels or self._placing.label)

    def add(self, parts: Folder, body: bytes) -> None:
        """Add a file with metadata; one that has no labels changes nothing.

        Args:
            parts: its path in the source.
            body: its content.

        Raises:
            DataError: it is malformed, a second one for its folder, or after photos of its folder.
        """
        folder = parts[:-1]
        name = readable(f"{self._source}{':' if self._is_packed else '/'}{'/'.join(parts)}")
        table = parse_metadata(body, name)
        if table is None:
            return
        if folder in self._metadata:
            raise DataError(
                f"{self._metadata[folder].table.name} and {name} are both metadata of one folder",
                hint="delete one of them, or name the right one with --labels",
            )
        if any(seen[: len(folder)] == folder for seen in self._seen):
            raise DataError(
                f"{name} is behind photos that it labels, and a tar archive is read once",
                hint=f"name it with `--labels {'/'.join(parts)}`, or put it first when you make the archive",
            )
        self._metadata[folder] = LabelMatches(table)

    def covers(self, folder: Folder) -> bool:
        """Whether a label file speaks of the photos in a folder, so that the folder's name is no class.

        Args:
            folder: its path in the source.
        """
        return self._placing.labels is not None or any(
            folder[:depth] in self._metadata for depth in range(len(folder) + 1)
        )

    def make_entry(self, path: str, parts: Folder, read: Callable[[], bytes]) -> Entry | None:
        """Make the entry of a file that a label file speaks of, or should.

        Args:
            path: its path for people.
            parts: its path in the source.
            read: returns its bytes, or raises `PhotoRejected`.

        Returns:
            The entry; None if no label file is for this folder.
        """
        matches, paths = self._matches(parts)
        shown = readable(path)
        if matches is None:
            if has_photo_suffix(parts[-1]):
                self._seen.add(parts[:-1])
            return None
        row = matches.find(paths, shown)
        if row is not None:
            return self._labelled(shown, parts, matches.table, row, read)
        is_own = any(is_system_file(part) or part.startswith(".") for part in parts)
        if is_own or not has_photo_suffix(parts[-1]):
            return IgnoredFile(shown)
        detail = f"{matches.table.name} does not name it: add it there, or leave the photo out"
        return RejectedPhoto(shown, RejectionReason.UNLABELLED, detail)

    def missing(self) -> Iterator[RejectedPhoto]:
        """Yield an entry for each row of metadata without a photo, after all photos."""
        for matches in self._metadata.values():
            yield from matches.missing()

    def _matches(self, parts: Folder) -> tuple[LabelMatches | None, list[str]]:
        """Return the label file for a photo, and the paths that the photo may have there."""
        given = self._placing.labels
        if given is None:
            for depth in range(len(parts) - 1, -1, -1):
                if parts[:depth] in self._metadata:
                    return self._metadata[parts[:depth]], ["/".join(parts[depth:])]
            return None, []
        others = [parts[1:] if self._is_packed else (self._top, *parts)]
        if parts[: len(given.folder)] == given.folder:
            others.append(parts[len(given.folder) :])
        return given, ["/".join(parts), *("/".join(path) for path in others if path)]

    def _labelled(
        self, shown: str, parts: Folder, table: LabelTable, row: LabelRow, read: Callable[[], bytes]
    ) -> SourceFile | RejectedPhoto:
        if row.problem:
            return RejectedPhoto(shown, RejectionReason.AMBIGUOUS, row.problem)
        if not row.label.strip():
            return RejectedPhoto(shown, RejectionReason.UNLABELLED, f"{table.name} gives it no class")
        folders = (self._top, *parts[:-1])
        named = row.split or next((SPLIT_OF[name.lower()] for name in folders[::-1] if name.lower() in SPLIT_OF), "")
        if problem := self._misplaced(folders, named, table):
            return RejectedPhoto(shown, RejectionReason.MISPLACED, problem)
        folder = row.source or (ADDED if self._placing.split else self._top)
        split = named or self._placing.split or UNSPLIT
        file = SourceFile(shown, readable(parts[-1]), readable(folder), split, row.label, b"", row.group)
        return read_entry(file, self._placing, read)

    def _misplaced(self, folders: Folder, named: str, table: LabelTable) -> str:
        """Say why a photo has no split; empty: it has one, or will get one.

        Args:
            folders: the folders above it, the outermost first.
            named: the split that its row or a folder names; empty: none.
            table: its label file.
        """
        if named:
            already = f"it is in {named} already, by its folder or {table.name}: leave out --split"
            return already if self._placing.split else ""
        almost = next((readable(name) for name in folders if LIKE_A_SPLIT.match(name)), "")
        if almost and not self._placing.split:
            return f"the folder {almost!r} looks like a split and is none: rename it, or add a column split to {table.name}"
        if self._placing.split or self._placing.unsplit:
            return ""
        return (
            f"neither {table.name} nor a folder gives it a split: add a column split; or `--test-share 0.2` splits each "
            "class, `--split train` takes all photos for training"
        )


def open_labels(file: Path, sources: Iterable[object]) -> LabelMatches:
    """Read the label file that was given. If there is no such file, it is looked for in the sources, under this path.

    Args:
        file: its path, or its path in one of the sources: from the source's begin, or from its outermost folder.
        sources: folders and archives; anything else has no label file.

    Raises:
        DataError: it is nowhere, or in several sources; or `read_label_file` fails.
    """
    paths = [source for source in sources if isinstance(source, Path)]
    if file.exists() or file.is_absolute():
        above = (source.resolve() for source in paths if file.resolve().is_relative_to(source.resolve()))
        folder = next((file.resolve().parent.relative_to(source).parts for source in above if source.is_dir()), ())
        return LabelMatches(read_label_file(file), folder)
    found = [matches for source in paths for matches in _inside(source, file.parts)]
    if len(found) != 1:
        where = (
            ", ".join(matches.table.name for matches in found) or f"neither here nor in {', '.join(map(str, paths))}"
        )
        text = (
            f"there are {len(found)} label files {file}: {where}"
            if found
            else f"there is no label file {file}: {where}"
        )
        raise DataError(text, hint="--labels names a file, or a file in the source, such as labels.csv in photos.zip")
    return found[0]


def _inside(source: Path, parts: Folder) -> list[LabelMatches]:
    if source.is_dir():
        path = source.joinpath(*parts)
        return [LabelMatches(read_label_file(path), parts[:-1])] if path.is_file() else []
    if not source.is_file() or not is_archive(source):
        return []

    def read(member: ArchiveMember) -> Iterator[LabelMatches]:
        is_it = member.kind is MemberKind.FILE and not member.leads_out and parts in {member.parts, member.parts[1:]}
        if is_it:
            table = parse_labels(read_labels(member, source), readable(f"{source}:{member.name}"))
            yield LabelMatches(table, member.parts[:-1])

    return list(walk_members(source, read))


def read_labels(member: ArchiveMember, source: Path) -> bytes:
    """Return the content of a label file in an archive. Raises `DataError` if it is too large or damaged."""
    name = readable(f"{source}:{member.name}")
    if member.size > MAX_BYTES:
        raise DataError(f"the label file {name} has {member.size} bytes: at most {MAX_BYTES} are read", hint="split it")
    try:
        return member.read()
    except PhotoRejected as error:
        raise DataError(f"the label file {name} cannot be read: {error.detail}") from error
