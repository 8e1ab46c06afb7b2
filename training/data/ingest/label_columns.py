"""Label files that are tables: CSV, TSV, JSON Lines and Parquet. Columns are found by their names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orchard.documents import load_json
from orchard.errors import DataError
from training.data.ingest.label_rows import MAX_LETTERS, MAX_ROWS, LabelRow, LabelTable, clean_path, read_split
from training.data.rejections import readable

__all__ = ["COLUMNS", "as_text", "find_columns", "read_delimited", "read_json_lines", "read_parquet"]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file": ("file", "path", "filename", "file_name", "filepath", "file_path", "image", "image_path", "photo"),
    "label": ("label", "class", "category"),
    "split": ("split",),
    "source": ("source",),
    "group": ("group",),
}
"""What a column is for, and the names that it may have, in upper or lower case."""

REQUIRED = ("file", "label")
DELIMITERS = ",\t;"
"""Of CSV and TSV, and of CSV as spreadsheets write it where the comma is in numbers."""

HEADER = "the first line names the columns, for example file,label or file,label,split,group"


@lru_cache(maxsize=64)
def find_columns(names: tuple[str, ...]) -> dict[str, int]:
    """Find the columns of a table by their names.

    Returns:
        The place of each column that is known.

    Raises:
        ValueError: a required one is not there, or two are for the same.
    """
    found: dict[str, int] = {}
    lower = [name.strip().lower() for name in names]
    for role, known in COLUMNS.items():
        places = [place for place, name in enumerate(lower) if name in known]
        if len(places) > 1:
            same = ", ".join(repr(readable(names[place])) for place in places)
            raise ValueError(f"the columns {same} are all for the {role}: rename all but one")
        if places:
            found[role] = places[0]
        elif role in REQUIRED:
            header = ", ".join(repr(readable(name[:40])) for name in names[:20]) or "nothing"
            raise ValueError(f"no column for the {role} ({', '.join(known)}); it has {header}")
    return found


def as_text(value: Any) -> str:
    """Return a value as text: `7` is the class '7', and null is none. Raises `ValueError` if it is neither text nor whole."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{str(value)[:40]} is neither a text nor a whole number")
    text = str(value)
    if len(text) > MAX_LETTERS:
        raise ValueError(f"a value has {len(text)} letters: at most {MAX_LETTERS} are read")
    text.encode("utf-8")  # JSON can write half a letter, as \ud800
    return text


def _row(columns: Mapping[str, int], values: Sequence[Any], number: int) -> LabelRow:
    cells = {role: as_text(values[place]) for role, place in columns.items()}
    path = clean_path(cells["file"])
    windows = path.replace("\\", "/")
    return LabelRow(
        path,
        number,
        cells["label"],
        read_split(cells.get("split", "")),
        cells.get("source", "").strip(),
        cells.get("group", "").strip(),
        others=(clean_path(windows),) if windows != path else (),
    )


def _delimiter(text: str, name: str) -> tuple[str, dict[str, int]]:
    """Return what separates the columns, and the columns: of all delimiters, one has the required ones."""
    fitting: dict[str, dict[str, int]] = {}
    problems: list[tuple[int, str]] = []
    for delimiter in DELIMITERS:
        header: list[str] = []
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
            header = next(filter(None, rows), [])
            fitting[delimiter] = find_columns(tuple(header))
        except (csv.Error, ValueError) as error:
            problems.append((len(header), str(error)))
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    problem = "several delimiters fit its header" if fitting else max(problems)[1]
    raise DataError(f"{name}, line 1: {problem}", hint=HEADER)


def read_delimited(text: str, name: str) -> LabelTable:
    """Read CSV or TSV with a header.

    Raises:
        DataError: a column is missing, or a line is malformed; with the line.
    """
    delimiter, columns = _delimiter(text, name)
    return LabelTable(name, "line", _delimited_rows(text, name, delimiter, columns))


def _delimited_rows(text: str, name: str, delimiter: str, columns: dict[str, int]) -> Iterator[LabelRow]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    begin, width = 1, 0
    try:
        for cells in reader:
            if not width:
                width = len(cells)
            elif cells:
                if len(cells) != width:
                    quote = "; a name with a delimiter in it needs quotation marks"
                    raise ValueError(f"{len(cells)} values, and the header has {width} columns{quote}")
                yield _row(columns, cells, begin)
            begin = reader.line_num + 1
    except (csv.Error, ValueError) as error:
        raise DataError(f"{name}, line {begin}: {error}") from error


def read_json_lines(text: str, name: str) -> LabelTable:
    """Read JSON Lines: an object a line, with the same names as columns of CSV.

    Raises:
        DataError: a line is malformed, or names no photo; with the line.
    """
    return LabelTable(name, "line", _json_rows(text.split("\n"), name))


def _json_rows(lines: Iterable[str], name: str) -> Iterator[LabelRow]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = load_json(line)
            if not isinstance(record, dict):
                raise ValueError('expected an object, as {"file_name": "1.jpg", "label": "Kiwi"}')
            yield _row(find_columns(tuple(record)), list(record.values()), number)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}, line {number}: {error}") from error


def read_parquet(body: bytes, name: str) -> LabelTable:
    """Read a Parquet file with the same names of columns. Classes that are numbers have names where the file gives them.

    Raises:
        DataError: it is damaged or too large, a column is missing, or a value is malformed; with the row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"{file.metadata.num_rows} rows: at most {MAX_ROWS} are read")
        columns = find_columns(tuple(file.schema_arrow.names))
        return LabelTable(name, "row", _parquet_rows(file, columns, name))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{name}: {error}") from error


def _parquet_rows(file: Any, columns: Mapping[str, int], name: str) -> Iterator[LabelRow]:
    all_names = file.schema_arrow.names
    names = [all_names[place] for place in columns.values()]
    classes = _class_names(file.schema_arrow.metadata or {}, all_names[columns["label"]])
    places = {role: place for place, role in enumerate(columns)}
    number = 0
    for batch in file.iter_batches(batch_size=1024, columns=names):
        for values in zip(*(batch.column(column).to_pylist() for column in names), strict=True):
            number += 1
            cells = list(values)
            label = cells[places["label"]]
            if classes and isinstance(label, int) and 0 <= label < len(classes):
                cells[places["label"]] = classes[label]
            try:
                yield _row(places, cells, number)
            except ValueError as error:
                raise DataError(f"{name}, row {number}: {error}") from error


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> list[str]:
    """Return the names of the classes that `datasets` of Hugging Face writes beside the columns; else none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
