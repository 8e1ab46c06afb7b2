"""The rows that are captured, and their Parquet files, which DuckDB, pyarrow and Hugging Face's `datasets` read.

`orchard.captures` names the columns. The bytes of the photos are not compressed: they do not shrink.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from orchard.captures import COLUMNS, photo_name

__all__ = ["CapturedRow", "write_rows"]

_KINDS = {"string": "utf8", "float32": "float32", "bool": "bool", "int64": "int64", "int32": "int32"}
_FEATURES = {
    name: {"_type": "Image"} if kind == "image" else {"dtype": kind, "_type": "Value"} for name, kind in COLUMNS.items()
}
_METADATA = {"huggingface": json.dumps({"info": {"features": _FEATURES}})}


@dataclass(frozen=True, slots=True)
class CapturedRow:
    """One photo and its prediction; the attributes are the columns of `orchard.captures`.

    Attributes:
        image: the photo's bytes, without metadata.
        time: seconds since 1970, UTC.
    """

    image: bytes
    label: str | None
    probability: float | None
    unsure: bool | None
    version: int
    channel: str | None
    time: float
    request_id: str
    photo: int
    client: str


def write_rows(rows: Sequence[CapturedRow]) -> bytes:
    """Return a Parquet file with the rows, in their order."""
    import arro3.core as arrow
    from arro3.io import write_parquet

    binary, text, whole = arrow.DataType.binary(), arrow.DataType.utf8(), arrow.DataType.int64()
    image = arrow.struct_array(
        [arrow.Array([row.image for row in rows], binary), arrow.Array([photo_name(row.image) for row in rows], text)],
        fields=[arrow.Field("bytes", binary), arrow.Field("path", text)],
    )
    arrays = [image]
    for name, kind in list(COLUMNS.items())[1:]:
        values = [getattr(row, name) for row in rows]
        if kind in _KINDS:
            arrays.append(arrow.Array(values, getattr(arrow.DataType, _KINDS[kind])()))
        else:
            times = arrow.Array([round(value * 1e6) for value in values], whole)
            arrays.append(times.cast(arrow.DataType.timestamp("us", tz="UTC")))
    fields = [arrow.Field(name, array.type) for name, array in zip(COLUMNS, arrays, strict=True)]
    table = arrow.Table.from_arrays(arrays, schema=arrow.Schema(fields, metadata=_METADATA))
    file = io.BytesIO()
    write_parquet(
        table,
        file,
        compression="zstd(3)",
        column_compression={("image", "bytes"): "uncompressed"},
        column_dictionary_enabled={("image", "bytes"): False},
    )
    return file.getvalue()
