"""Label files: their format is recognised by their content. One that may be several, or none, is an error."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from orchard.documents import load_json
from orchard.errors import DataError
from training.data.ingest.coco_labels import KEYS, read_coco
from training.data.ingest.label_columns import COLUMNS, find_columns, read_delimited, read_json_lines, read_parquet
from training.data.ingest.label_rows import LabelTable
from training.data.ingest.label_studio import is_label_studio, read_label_studio

__all__ = ["MAX_BYTES", "METADATA", "parse_labels", "parse_metadata", "read_file", "read_label_file"]

MAX_BYTES = 100_000_000
"""The largest label file."""

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""The files that say of the photos in their folder what they are, as in an image folder of Hugging Face."""

PARQUET = b"PAR1"
FORMATS = (
    "looked for: CSV or TSV with a header (file, label); JSON Lines with the same names; Parquet; JSON of COCO (images, "
    "annotations, categories); JSON of Label Studio (a list of tasks with data and annotations)"
)


def read_label_file(path: Path) -> LabelTable:
    """Read a label file.

    Raises:
        DataError: it cannot be read, is too large, or is none of the formats; with the line or record.
    """
    return parse_labels(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """Return a label file's content, or a byte more than the limit. Raises `DataError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"the label file {path} cannot be read: {error.strerror}") from error


def parse_labels(body: bytes, name: str) -> LabelTable:
    """Read a label file's content, as `read_label_file` does.

    Args:
        body: the whole content.
        name: the file's name, for messages.
    """
    if len(body) > MAX_BYTES:
        raise DataError(f"the label file {name} is larger than {MAX_BYTES} bytes", hint="split it")
    if body.startswith(PARQUET):
        return read_parquet(body, name)
    text = _decode(body, name)
    begin = text.lstrip()[:1]
    if not begin:
        raise DataError(f"the label file {name} is empty", hint=FORMATS)
    return _json_labels(text, name) if begin in "{[" else read_delimited(text, name)


def _decode(body: bytes, name: str) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if body.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{name} is a text in UTF-16: expected UTF-8", hint="save it as UTF-8") from error
        line = body.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: the byte 0x{body[error.start]:02x} at position {error.start} is not UTF-8",
            hint="save it as UTF-8; another encoding would change the names of classes",
        ) from error


def _json_labels(text: str, name: str) -> LabelTable:
    first, _, rest = text.lstrip().partition("\n")
    record = _parsed(first) if first.startswith("{") else None
    if isinstance(record, dict) and (rest.strip() or (_has_columns(record) and not _is_coco(record))):
        return read_json_lines(text, name)
    try:
        document = load_json(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}, line {error.lineno}: it is not valid JSON: {error.msg}", hint=FORMATS) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not valid JSON: {error}", hint=FORMATS) from error
    if _is_coco(document):
        return read_coco(document, name)
    if is_label_studio(document):
        return read_label_studio(document, name)
    raise DataError(f"the label file {name} is JSON of an unknown kind: {_describe(document)}", hint=FORMATS)


def _has_columns(record: dict[str, Any]) -> bool:
    try:
        return bool(find_columns(tuple(record)))
    except ValueError:
        return False


def _parsed(text: str) -> Any:
    try:
        return load_json(text)
    except (ValueError, RecursionError):
        return None


def _is_coco(document: Any) -> bool:
    return isinstance(document, dict) and all(key in document for key in KEYS)


def _describe(document: Any) -> str:
    if isinstance(document, dict):
        return f"an object with {', '.join(map(repr, [*document][:8])) or 'nothing'}"
    first = document[0] if isinstance(document, list) and document else None
    kind = f" of objects with {', '.join(map(repr, [*first][:8]))}" if isinstance(first, dict) and first else ""
    return f"a list{kind}" if isinstance(document, list) else f"a {type(document).__name__}"


def parse_metadata(body: bytes, name: str) -> LabelTable | None:
    """Read a file with one of the names `METADATA`, whose paths are relative to its folder.

    Returns:
        Its rows; None if it has no columns ``file_name`` and ``label``, so that it is for something else.

    Raises:
        DataError: it has them, and is malformed.
    """
    return parse_labels(body, name) if _has_labels(_header(body)) else None


def _has_labels(names: list[str]) -> bool:
    lower = {name.strip().lower() for name in names}
    return "file_name" in lower and not lower.isdisjoint(COLUMNS["label"])


def _header(body: bytes) -> list[str]:
    """Return the names of a table's columns; none if it is no table."""
    if body.startswith(PARQUET):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(pa.BufferReader(body)).names)
        except (pa.ArrowException, OSError):
            return []
    first = body[: 1 << 16].decode("utf-8-sig", "replace").lstrip().partition("\n")[0]
    if first.startswith("{"):
        record = _parsed(first)
        return list(record) if isinstance(record, dict) else []
    try:
        return [name for delimiter in ",\t;" for name in next(csv.reader(io.StringIO(first), delimiter=delimiter), [])]
    except csv.Error:
        return []
