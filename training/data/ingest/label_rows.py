"""What a label file says of each photo, and which photo a row means."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PureWindowsPath

from orchard.errors import DataError
from training.data.ingest.layouts import SPLIT_OF
from training.data.rejections import RejectedPhoto, RejectionReason, readable

__all__ = ["MAX_ROWS", "LabelMatches", "LabelRow", "LabelTable", "clean_path", "read_split"]

MAX_ROWS = 1_000_000
"""The most rows of a label file."""

MAX_LETTERS = 4096
"""The longest path, class or other value."""


VALUES = ("class", "split", "source", "group", "problem")


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What a label file says of a photo.

    Attributes:
        path: the photo's path, as `clean_path` returns it.
        number: the row's place in the file: a line, or the number of a record, from 1.
        label: its class; empty: none.
        split: `train` or `test`; empty: none.
        source: the source that it is counted under; empty: its folder's.
        group: photos of one group stay in one split; empty: it is in no group.
        problem: why it has no single class; empty: it has one or none.
        others: other paths that may mean this photo, if no other row has the path.
    """

    path: str
    number: int
    label: str
    split: str = ""
    source: str = ""
    group: str = ""
    problem: str = ""
    others: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """What another row of the same photo must say too: `VALUES`."""
        return self.label.strip(), self.split, self.source, self.group, self.problem


def clean_path(text: str) -> str:
    """Return a path in the form that is compared. Raises `ValueError` if it is not a path inside of a source."""
    if not text.strip() or "\0" in text:
        raise ValueError(f"{readable(text[:80])!r} is not the path of a photo")
    if len(text) > MAX_LETTERS:
        raise ValueError(f"a path has {len(text)} letters: at most {MAX_LETTERS} are read")
    if text.startswith("/") or PureWindowsPath(text).is_absolute():
        raise ValueError(f"the path {readable(text)!r} is absolute: expected one that is relative to the source")
    parts = [part for part in unicodedata.normalize("NFC", text).split("/") if part not in {"", "."}]
    if ".." in parts or not parts:
        raise ValueError(f"the path {readable(text)!r} leads out of the source")
    return "/".join(parts)


def read_split(text: str) -> str:
    """Return `train`, `test` or, of an empty text, none. Raises `ValueError` for anything else."""
    name = text.strip().lower()
    if name and name not in SPLIT_OF:
        raise ValueError(f"{readable(text)!r} is not a split: expected one of {', '.join(SPLIT_OF)}")
    return SPLIT_OF[name] if name else ""


class LabelTable:
    """A label file's rows, one for each photo.

    Args:
        name: the file's name, for messages.
        unit: what a row's number counts: `line`, `image` or the like.
        rows: its rows; several of one photo become one, with a problem unless they say the same.

    Raises:
        DataError: there is no row, or there are too many.
    """

    def __init__(self, name: str, unit: str, rows: Iterable[LabelRow]) -> None:
        self.name, self._unit = name, unit
        self._rows: dict[str, LabelRow] = {}
        self._others: dict[str, list[LabelRow]] = {}
        for number, row in enumerate(rows):
            if number >= MAX_ROWS:
                raise DataError(
                    f"{name} has more than {MAX_ROWS} rows", hint="split it, and ingest one part after another"
                )
            before = self._rows.get(row.path)
            if before is None or before.values != row.values:
                self._rows[row.path] = row if before is None else self._contradiction(before, row)
        if not self._rows:
            raise DataError(f"{name} names no photo")
        for row in self._rows.values():
            for path in row.others:
                self._others.setdefault(path, []).append(row)

    def _contradiction(self, before: LabelRow, row: LabelRow) -> LabelRow:
        if before.problem:
            return before
        differs = next(
            place for place, pair in enumerate(zip(before.values, row.values, strict=True)) if pair[0] != pair[1]
        )
        first, second = (each.problem or f"{VALUES[differs]} {each.values[differs]!r}" for each in (before, row))
        problem = f"{self.where(before)} says {first} and {self._unit} {row.number} says {second}: correct one of them"
        return replace(before, problem=problem)

    def __iter__(self) -> Iterator[LabelRow]:
        """Iterate over the rows, in the file's order."""
        return iter(self._rows.values())

    def where(self, row: LabelRow) -> str:
        """The place of a row, for people."""
        return f"{self.name}, {self._unit} {row.number}"

    def find(self, paths: Iterable[str]) -> LabelRow | None:
        """Return the row of a photo.

        Args:
            paths: the paths that it may have in the file, the likeliest first.

        Raises:
            DataError: several rows may mean it.
        """
        paths = [unicodedata.normalize("NFC", path) for path in paths]
        for path in paths:
            if path in self._rows:
                return self._rows[path]
        for path in paths:
            found = self._others.get(path, [])
            if len(found) > 1:
                raise DataError(
                    f"{self.where(found[0])} and {self._unit} {found[1].number} both may mean the photo {readable(path)}: "
                    f"{readable(found[0].path)}, {readable(found[1].path)}",
                    hint="give the folder above as SOURCE, so that more of the path is compared",
                )
            if found:
                return found[0]
        return None


class LabelMatches:
    """A label file's rows, and which of them a photo was found for.

    Args:
        table: the rows.
        folder: the folder of the source that the file is in, part by part; of a file elsewhere none.
    """

    def __init__(self, table: LabelTable, folder: tuple[str, ...] = ()) -> None:
        self.table, self.folder = table, folder
        self._photos: dict[int, str] = {}

    def find(self, paths: Iterable[str], photo: str) -> LabelRow | None:
        """Return the row of a photo.

        Args:
            paths: the paths that it may have in the file, the likeliest first.
            photo: its path for people.

        Raises:
            DataError: several rows may mean it, or its row means another photo too.
        """
        row = self.table.find(paths)
        if row is not None and self._photos.setdefault(id(row), photo) != photo:
            raise DataError(
                f"{self.table.where(row)} names {readable(row.path)}, which may be two photos: "
                f"{self._photos[id(row)]} and {photo}",
                hint="write paths relative to SOURCE; of several sources with such names, ingest one after another",
            )
        return row

    def missing(self) -> Iterator[RejectedPhoto]:
        """Yield an entry for each row without a photo, after all photos were looked up."""
        detail = f"{self.table.name} names it, and it is not there: paths are relative to the source"
        for row in self.table:
            if id(row) not in self._photos:
                yield RejectedPhoto(f"{self.table.where(row)}: {readable(row.path)}", RejectionReason.NO_PHOTO, detail)
