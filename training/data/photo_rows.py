"""What the shards say about each photo besides its bytes, and the bytes a few at a time, in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchard.errors import DataError
from training.data.shards import iterate, read_groups, read_index, verify

__all__ = ["PhotoRow", "read_rows", "stream_files"]

THREADS = 2


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A photo without its bytes.

    Attributes:
        path: its file name.
        label: its class.
        source: where it comes from, for example ``shop``.
        digest: SHA-256 (hex) of its bytes.
        group: photos of one group are of one thing, visit or patient, as a label file says; empty: it is in no group.
    """

    path: str
    label: str
    source: str
    digest: str
    group: str = ""


def read_rows(folder: Path, split: str, sources: Sequence[str] = ()) -> list[PhotoRow]:
    """Read the rows of a split in the order of the shards; each shard is compared with its SHA-256 meanwhile.

    Args:
        folder: the dataset folder.
        split: ``train`` or ``test``.
        sources: only photos of these sources; empty: of all.

    Raises:
        DataError: there is no dataset, or no photo of a source.
        IntegrityError: a shard is missing or damaged.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        checks = [pool.submit(verify, folder, shard) for shard in read_index(folder).shards]
        rows = _read_split(folder, split)
        for check in checks:
            check.result()
    known = sorted({row.source for row in rows})
    missing = sorted(set(sources) - set(known))
    if missing or not rows:
        raise DataError(
            f"{folder} has no {split} photos" + (f" of the source {', '.join(missing)}" if missing else ""),
            hint=f"its sources are {', '.join(known)}" if known else "`orchard ingest` photos of this split",
        )
    return [row for row in rows if not sources or row.source in sources]


def _read_split(folder: Path, split: str) -> list[PhotoRow]:
    rows: list[PhotoRow] = []
    groups = {
        digest: group for shard in read_index(folder).shards for digest, group in read_groups(folder, shard).items()
    }
    for batch in iterate(folder, columns=("image.path", "label", "source", "sha256"), splits=[split]):
        paths = [path or "" for path in batch["image"].field("path").to_pylist()]
        others = (batch[name].to_pylist() for name in ("label", "source", "sha256"))
        rows += [
            PhotoRow(path, label, source, digest, groups.get(digest, ""))
            for path, label, source, digest in zip(paths, *others, strict=True)
        ]
    return rows


def stream_files(folder: Path, split: str, sources: Sequence[str], rows: int) -> Iterator[list[bytes]]:
    """Yield the files of the rows that `read_rows` returns, in its order, at most `rows` at a time."""
    for batch in iterate(folder, columns=("image.bytes", "source"), splits=[split], rows=rows):
        chosen = batch.filter(pc.is_in(batch["source"], pa.array(sources))) if sources else batch
        if chosen.num_rows:
            yield chosen["image"].field("bytes").to_pylist()
