"""Reads captured photos and their predictions from the store; `orchard serve --capture` writes them.

A file is made by whoever has the key of the identity `capture`, so its content is not trusted: columns are checked, and
names are made from the photos' bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from orchard import layout
from orchard.captures import COLUMNS, photo_name
from orchard.errors import IntegrityError
from orchard.key_names import require_day
from orchard.store import ObjectStore
from orchard.store.object_file import ObjectFile
from orchard.store.objects import ObjectStat

__all__ = ["CaptureCounts", "CaptureSummary", "CapturedPhoto", "iterate_captures", "list_captures", "summarise"]

_ROWS = 64
"""Photos that are read together: what a reader keeps in memory besides one column of the file."""

_COUNTED = ("label", "unsure", "version", "channel", "request_id", "client")


@dataclass(frozen=True, slots=True)
class CapturedPhoto:
    """A captured photo and its prediction; `orchard.captures` describes the columns.

    Attributes:
        image: the photo's bytes, JPEG or PNG.
        time: when it was answered, UTC.
    """

    image: bytes
    label: str | None
    probability: float | None
    unsure: bool | None
    version: int
    channel: str | None
    time: datetime
    request_id: str
    photo: int
    client: str

    @property
    def name(self) -> str:
        """The name of its file: the same bytes have the same name."""
        return photo_name(self.image)

    def without_image(self) -> CapturedPhoto:
        """Return the prediction alone."""
        return replace(self, image=b"")


@dataclass(slots=True)
class CaptureCounts:
    """How many photos there are, how many of them the model was unsure of, and of how many it says whether it is."""

    photos: int = 0
    unsure: int = 0
    judged: int = 0

    def add(self, unsure: bool | None) -> None:
        """Count a photo."""
        self.photos += 1
        self.unsure += unsure is True
        self.judged += unsure is not None

    @property
    def unsure_share(self) -> float | None:
        """The share of photos of which the model was unsure; None: it does not say."""
        return self.unsure / self.judged if self.judged else None


@dataclass(slots=True)
class CaptureSummary:
    """What was captured.

    Attributes:
        all: all photos.
        days: by day; with the number of requests, of clients, and of bytes.
        versions: by version and channel; None: the requests named no channel.
        labels: by predicted class; None: the model names none.
    """

    all: CaptureCounts = field(default_factory=CaptureCounts)
    days: dict[str, tuple[CaptureCounts, int, int, int]] = field(default_factory=dict)
    versions: dict[tuple[int, str | None], CaptureCounts] = field(default_factory=lambda: defaultdict(CaptureCounts))
    labels: dict[str | None, CaptureCounts] = field(default_factory=lambda: defaultdict(CaptureCounts))


def list_captures(store: ObjectStore, model: str, days: Sequence[str] = ()) -> list[ObjectStat]:
    """Return the files of captured photos, oldest first.

    Args:
        store: the store.
        model: the model's name.
        days: only these, each ``YYYY-MM-DD``; empty: all.

    Raises:
        DataError: a day is invalid.
    """
    chosen = {require_day(day) for day in days}
    found = [stat for stat in store.list(layout.captures(model)) if stat.key.endswith(".parquet")]
    return [stat for stat in found if (day := layout.day_of_capture_key(stat.key)) and (not chosen or day in chosen)]


def summarise(store: ObjectStore, files: Iterable[ObjectStat]) -> CaptureSummary:
    """Count what was captured; the photos themselves are not read.

    Args:
        store: the store.
        files: of `list_captures`.

    Raises:
        IntegrityError: a file is no file of captured photos.
    """
    summary = CaptureSummary()
    requests: dict[str, set[str]] = defaultdict(set)
    clients: dict[str, set[str]] = defaultdict(set)
    for stat in files:
        day = layout.day_of_capture_key(stat.key) or ""
        counts, _, _, size = summary.days.get(day, (CaptureCounts(), 0, 0, 0))
        with _opened(store, stat) as file:
            rows = file.read(columns=list(_COUNTED)).to_pylist()
        for row in rows:
            labels, versions = summary.labels[row["label"]], summary.versions[row["version"], row["channel"]]
            for each in (summary.all, counts, labels, versions):
                each.add(row["unsure"])
            requests[day].add(row["request_id"])
            clients[day].add(row["client"])
        summary.days[day] = counts, len(requests[day]), len(clients[day]), size + stat.size
    return summary


def iterate_captures(store: ObjectStore, files: Iterable[ObjectStat]) -> Iterator[CapturedPhoto]:
    """Yield captured photos, file by file.

    Args:
        store: the store.
        files: of `list_captures`.

    Raises:
        IntegrityError: a file is no file of captured photos.
    """
    for stat in files:
        with _opened(store, stat) as file:
            for batch in file.iter_batches(_ROWS, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    yield CapturedPhoto(**{**row, "image": row["image"]["bytes"]})


@contextmanager
def _opened(store: ObjectStore, stat: ObjectStat) -> Iterator[pq.ParquetFile]:
    """Open a file whose columns are those of captured photos."""
    try:
        file = pq.ParquetFile(pa.PythonFile(ObjectFile(store, stat), "r"))
        found = {name: _kind(file.schema_arrow.field(name).type) for name in file.schema_arrow.names}
        if wrong := sorted(name for name, kind in COLUMNS.items() if found.get(name) != kind):
            raise _invalid(stat, f"its columns {', '.join(wrong)} are missing or have another type")
        yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise _invalid(stat, str(error).partition("\n")[0][:200]) from error


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "image" if {field.name for field in kind} >= {"bytes", "path"} else "struct"
    return "float32" if kind == pa.float32() else str(kind)


def _invalid(stat: ObjectStat, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{stat.key} is not a file of captured photos: {reason}",
        hint="delete it if it is damaged; `orchard housekeeping` deletes old ones",
    )
