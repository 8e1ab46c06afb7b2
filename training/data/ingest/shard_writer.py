"""Writes rows to Parquet shards; the same rows give the same bytes.

The column of the JPEG bytes has no compression (they do not shrink) and no statistics. The schema declares it as an
`Image` for readers that use Hugging Face's `datasets`. The digests of the files that photos were converted from, and the
groups of photos, are in the file's metadata: most shards have none, and some readers cannot join shards with and without a
column (docs/adr/0021-groups-in-the-metadata.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from orchard.files import md5_of, sha256_of
from training.data.ingest.scan import ScannedPhoto
from training.data.shards import GROUPS, ORIGINALS, Shard

__all__ = ["SHARD_BYTES", "write_shards", "write_table"]

SHARD_BYTES = 32_000_000
ROW_GROUP = 1000

_TEXT = {"dtype": "string", "_type": "Value"}
_WHOLE = {"dtype": "int32", "_type": "Value"}
_FEATURES = {
    "image": {"_type": "Image"},
    "label": _TEXT,
    "split": _TEXT,
    "source": _TEXT,
    "sha256": _TEXT,
    "pixels_sha256": _TEXT,
    "width": _WHOLE,
    "height": _WHOLE,
}
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *[(name, pa.int32() if kind is _WHOLE else pa.string()) for name, kind in _FEATURES.items() if name != "image"],
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
LEAVES = ("image.bytes", "image.path", *[name for name in _FEATURES if name != "image"])


def write_shards(folder: Path, rows: Sequence[ScannedPhoto], spool: IO[bytes], first: int) -> tuple[Shard, ...]:
    """Write rows in their order to files of about `SHARD_BYTES` in a folder, and sync them to the disk.

    Args:
        folder: the folder.
        rows: the rows.
        spool: a readable file with the rows' bytes.
        first: the number of the first shard.

    Raises:
        OSError: the disk is full or fails.
    """
    return tuple(_write(folder, first + number, part, spool) for number, part in enumerate(_parts(rows)) if part)


def _parts(rows: Sequence[ScannedPhoto]) -> Iterator[Sequence[ScannedPhoto]]:
    """Split rows into parts of nearly equal bytes, none much larger than `SHARD_BYTES`."""
    total = sum(row.length for row in rows)
    count = max(1, round(total / SHARD_BYTES))
    begin = size = done = 0
    for end, row in enumerate(rows, 1):
        size += row.length
        if size >= total * (done + 1) / count:
            yield rows[begin:end]
            begin, done = end, done + 1
    yield rows[begin:]


def _write(folder: Path, number: int, rows: Sequence[ScannedPhoto], spool: IO[bytes]) -> Shard:
    bodies = []
    for row in rows:
        spool.seek(row.offset)
        bodies.append(spool.read(row.length))
    images = pa.StructArray.from_arrays(
        [pa.array(bodies, pa.binary()), pa.array([row.name for row in rows], pa.string())], ["bytes", "path"]
    )
    columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in list(SCHEMA)[1:]]
    originals = {row.sha256: row.original for row in rows if row.original}
    groups = {row.sha256: row.group for row in rows if row.group}
    return write_table(folder, number, pa.Table.from_arrays([images, *columns], schema=SCHEMA), originals, groups)


def write_table(
    folder: Path, number: int, table: pa.Table, originals: Mapping[str, str], groups: Mapping[str, str]
) -> Shard:
    """Write a table with the columns of a shard as the shard of this number, and sync it to the disk.

    Args:
        folder: the folder.
        number: the number of the shard.
        table: the photos.
        originals: of photos that were converted, SHA-256 → SHA-256 of the original file; others of the table have none.
        groups: of photos that are in a group, SHA-256 → group.

    Raises:
        OSError: the disk is full or fails.
    """
    lists = {ORIGINALS: originals, GROUPS: groups}
    listed = {key: json.dumps(dict(sorted(each.items()))).encode() for key, each in lists.items() if each}
    table = table.replace_schema_metadata({**SCHEMA.metadata, **listed})
    draft = folder / f"{number:04d}.draft"
    with draft.open("wb") as file:
        pq.write_table(
            table,
            file,
            row_group_size=ROW_GROUP,
            compression={leaf: "NONE" if leaf == "image.bytes" else "ZSTD" for leaf in LEAVES},
            use_dictionary=["label", "split", "source"],
            write_statistics=[leaf for leaf in LEAVES if leaf != "image.bytes"],
        )
        file.flush()
        os.fsync(file.fileno())
    md5, sha256 = md5_of(draft), sha256_of(draft)  # DVC names files by MD5
    final = draft.rename(folder / f"{number:04d}-{sha256[:12]}.parquet")
    return Shard(final.name, md5, sha256, final.stat().st_size, table.num_rows)
