"""Reads a dataset folder: its index, and its photos in batches.

docs/architecture.md describes the folder ("Dataset folder"); `training.data.ingest` writes it. Nothing here imports
TensorFlow, and a reader of two columns never reads the bytes of the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchard import documents
from orchard.dataset import MAX_INDEX_BYTES
from orchard.errors import DataError, IntegrityError
from orchard.files import sha256_of

__all__ = [
    "COLUMNS",
    "GROUPS",
    "INDEX",
    "ORIGINALS",
    "RESTORE",
    "SPLITS",
    "Index",
    "Shard",
    "is_shard_name",
    "iterate",
    "parse_index",
    "read_columns",
    "read_groups",
    "read_index",
    "read_originals",
    "read_shard",
    "verify",
]

INDEX = "index.json"
SPLITS = ("train", "test")
COLUMNS = ("image", "label", "split", "source", "sha256", "pixels_sha256", "width", "height")
"""All columns of a shard. `pixels_sha256` is the digest of the upright RGB pixels: equal for equal pictures in different files."""

ORIGINALS = b"orchard.originals"
"""The key in a shard's metadata: a JSON object, `sha256` of each photo that was converted → SHA-256 of the file it was."""

GROUPS = b"orchard.groups"
"""Another key there: a JSON object, `sha256` of each photo that is in a group → the group that a label file gave it."""

RESTORE = (
    "`orchard pull` downloads what is missing or damaged; if the dataset was never pushed, delete its folder and ingest "
    "its photos again"
)
"""What to do about a damaged dataset folder."""

_SHARD = re.compile(r"\d{4,}-[0-9a-f]{12}\.parquet")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")


@documents.strict_dataclass
class Shard:
    """One Parquet file of the dataset.

    Attributes:
        path: its name inside the folder, ``NNNN-<sha256[:12]>.parquet``.
        md5: of its bytes, its name in DVC.
        sha256: of its bytes.
        bytes: its size.
        rows: how many photos it holds.
    """

    path: str
    md5: str
    sha256: str
    bytes: int
    rows: int


@documents.strict_dataclass
class Index:
    """The content of a dataset folder's index.json.

    Attributes:
        format: always 1.
        name: the dataset's name.
        classes: every class, sorted.
        shards: the files, in the order in which they were added.
        counts: photos by split and class; every split has every class.
        revision: names the corrections of labels and the removals behind this index; None, and not in index.json: there
            were none. Ingests keep it.
    """

    format: Literal[1]
    name: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    counts: dict[str, dict[str, int]]
    revision: str | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document of index.json."""
        document = documents.encode(self)
        return document if self.revision is not None else {k: v for k, v in document.items() if k != "revision"}

    @property
    def text(self) -> str:
        """The content of index.json; the same index gives the same text, whatever the order of its counts."""
        counts = {split: {label: self.counts[split][label] for label in self.classes} for split in SPLITS}
        return json.dumps({**self.document, "counts": counts}, ensure_ascii=False, indent=1) + "\n"

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the canonical document, which identifies the content."""
        return documents.digest(self.document)

    @property
    def rows(self) -> int:
        """The number of photos."""
        return sum(shard.rows for shard in self.shards)

    @property
    def next_number(self) -> int:
        """The number of the next new shard."""
        return 1 + max((int(shard.path.partition("-")[0]) for shard in self.shards), default=-1)


def is_shard_name(name: str) -> bool:
    """Whether a file of this name in a dataset folder is a shard, in the index or not."""
    return _SHARD.fullmatch(name) is not None


def parse_index(body: bytes, where: str) -> Index:
    """Parse the bytes of an index.json strictly; messages call it `where`.

    Raises:
        IntegrityError: it is not an index of this format, or contradicts itself.
    """
    index = documents.decode(Index, documents.parse(body, where, limit=MAX_INDEX_BYTES), where)
    problems = list(_problems(index))
    if problems:
        raise IntegrityError(
            f"{where} contradicts itself: {'; '.join(problems[:5])}",
            hint=RESTORE,
        )
    return index


def _problems(index: Index) -> Iterator[str]:
    if list(index.classes) != sorted(set(index.classes)) or "" in index.classes:
        yield "its classes are not sorted and distinct names"
    if set(index.counts) != set(SPLITS):
        yield f"it counts the splits {sorted(index.counts)}, expected {sorted(SPLITS)}"
    for split, counts in index.counts.items():
        if set(counts) != set(index.classes):
            yield f"its counts of {split} have other classes than its list"
    total = sum(number for counts in index.counts.values() for number in counts.values())
    if total != index.rows or any(number < 0 for counts in index.counts.values() for number in counts.values()):
        yield f"its counts add up to {total} photos, its shards to {index.rows}"
    if len({shard.path for shard in index.shards}) != len(index.shards):
        yield "a shard is listed twice"
    for shard in index.shards:
        # a path outside of the folder must never be read, and DVC and the store rely on both checksums
        if not is_shard_name(shard.path) or shard.path[-20:-8] != shard.sha256[:12]:
            yield f"{shard.path!r} is not a valid name of a shard"
        if not _SHA256.fullmatch(shard.sha256) or not _MD5.fullmatch(shard.md5) or shard.bytes < 1 or shard.rows < 1:
            yield f"the shard {shard.path!r} has a malformed checksum or no rows"


def read_index(folder: Path) -> Index:
    """Read a dataset folder's index.json.

    Raises:
        DataError: there is no dataset in the folder.
        IntegrityError: its index is malformed.
    """
    path = folder / INDEX
    try:
        body = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"no dataset in {folder}: {path} does not exist",
            hint="`orchard ingest SOURCE…` makes one, `orchard pull` downloads the published one",
        ) from error
    return parse_index(body, str(path))


def verify(folder: Path, shard: Shard) -> None:
    """Read a whole shard and compare its size and SHA-256 with the index.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    path = folder / shard.path
    try:
        size, sha256 = path.stat().st_size, sha256_of(path)
    except FileNotFoundError as error:
        raise _missing(path) from error
    if size != shard.bytes or sha256 != shard.sha256:
        raise IntegrityError(
            f"{path} is damaged: {size} bytes with SHA-256 {sha256[:12]}…, "
            f"expected {shard.bytes} with {shard.sha256[:12]}…",
            hint=RESTORE,
        )


def _missing(path: Path) -> IntegrityError:
    return IntegrityError(f"the shard {path} is missing", hint=RESTORE)


def iterate(
    folder: Path,
    *,
    columns: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    check: bool = False,
    rows: int = 1000,
) -> Iterator[pa.RecordBatch]:
    """Yield the photos of a dataset folder as record batches, in the order of its shards.

    Args:
        folder: the dataset folder.
        columns: the `COLUMNS` to read, in this order; also nested ones such as ``"image.bytes"``; None: all.
        splits: only photos of these splits; None: all.
        check: compare every shard's SHA-256 with the index before its first row is yielded (about 0.1 s per 100 MB).
        rows: the most photos in a batch.

    Raises:
        DataError: there is no dataset in the folder.
        IntegrityError: the index is malformed, or a shard is missing, damaged or not Parquet.
    """
    requested = list(COLUMNS if columns is None else columns)
    read = requested if splits is None or "split" in requested else [*requested, "split"]
    for shard in read_index(folder).shards:
        if check:
            verify(folder, shard)
        for batch in _batches(folder / shard.path, read, rows):
            selected = batch if splits is None else batch.filter(pc.is_in(batch["split"], pa.array(splits)))
            if selected.num_rows:
                yield selected if read is requested else selected.drop_columns(["split"])


def read_shard(folder: Path, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one shard, or only some columns of it, as `iterate` does.

    Raises:
        IntegrityError: the shard is missing or not Parquet. Its SHA-256 is not compared.
    """
    return read_columns(folder / shard.path, columns)


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of a shard that may lie elsewhere, as `read_shard` does; None: all."""
    with _opened(path) as file:
        return file.read(columns=None if columns is None else list(columns))


def read_originals(folder: Path, shard: Shard) -> dict[str, str]:
    """Read of which files the converted photos of a shard are: SHA-256 of the stored bytes → of the original file.

    Raises:
        IntegrityError: the shard is missing, not Parquet, or its list is malformed.
    """
    return _read_listed(folder / shard.path, ORIGINALS)


def read_groups(folder: Path, shard: Shard) -> dict[str, str]:
    """Read the groups of a shard's photos: SHA-256 of the stored bytes → group. Photos that are in none are not listed.

    Raises:
        IntegrityError: the shard is missing, not Parquet, or its list is malformed.
    """
    return _read_listed(folder / shard.path, GROUPS)


def _read_listed(path: Path, key: bytes) -> dict[str, str]:
    with _opened(path) as file:
        text = (file.schema_arrow.metadata or {}).get(key, b"{}")
    try:
        return {str(stored): str(value) for stored, value in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"{path}: its list {key.decode()} is malformed", hint=RESTORE) from error


def _batches(path: Path, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            yield batch.select(list(dict.fromkeys(name.split(".")[0] for name in columns)))


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield file
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}", hint=RESTORE) from error
