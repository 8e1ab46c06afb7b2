"""The photos that the demo and a deployment predict: test photos, among those that `orchard ingest` took."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchard.documents import parse
from orchard.errors import DataError

__all__ = ["UnseenPhoto", "choose_unseen"]

PNG = b"\x89PNG"
PREFERRED_CLASS = "Banana"
"""The class of the predicted photos, if the photos have it."""

MAX_SOURCES = 4
"""For how many sources a photo is chosen, at most."""

MAX_NAME_BYTES = 100


@dataclass(frozen=True, slots=True)
class UnseenPhoto:
    """A test photo: its class, its source in the dataset, and the file's bytes, JPEG or PNG."""

    label: str
    source: str
    body: bytes

    @property
    def file_name(self) -> str:
        """A name for its file, which every file system takes."""
        parts = (part.replace("/", "_").encode()[:MAX_NAME_BYTES] for part in (self.label, self.source))
        stem = "-".join(part.decode(errors="ignore") for part in parts)
        return stem + (".png" if self.body.startswith(PNG) else ".jpg")


def choose_unseen(dataset: Path) -> list[UnseenPhoto]:
    """Choose one test photo of each source of a dataset folder; training never reads test photos.

    Raises:
        DataError: the dataset has no test photos.
    """
    best: dict[str, tuple[bool, str, str]] = {}
    for label, source, digest in _rows(dataset):
        candidate = (label != PREFERRED_CLASS, label, digest)
        best[source] = min(best.get(source, candidate), candidate)
    if not best:
        raise DataError(
            f"{dataset} has no test photos, so there is no photo to predict that training never saw",
            hint="ingest photos of the split test",
        )
    chosen = {best[source][2]: (best[source][1], source) for source in sorted(best)[:MAX_SOURCES]}
    bodies = dict(_bodies(dataset, chosen))
    return [UnseenPhoto(label, source, bodies[digest]) for digest, (label, source) in chosen.items()]


def _rows(dataset: Path) -> Iterator[tuple[str, str, str]]:
    for batch in _test_batches(dataset, ["label", "source", "sha256"], rows=65_536):
        yield from zip(*(batch[name].to_pylist() for name in ("label", "source", "sha256")), strict=True)


def _bodies(dataset: Path, digests: Container[str]) -> Iterator[tuple[str, bytes]]:
    for batch in _test_batches(dataset, ["image.bytes", "sha256"], rows=100):
        for digest, image in zip(batch["sha256"].to_pylist(), batch["image"], strict=True):
            if digest in digests:
                yield digest, image["bytes"].as_py()


def _test_batches(dataset: Path, columns: list[str], rows: int) -> Iterator[Any]:
    """Yield the test photos of a dataset folder; docs/architecture.md describes it."""
    index = dataset / "index.json"
    for shard in parse(index.read_bytes(), str(index))["shards"]:
        with pq.ParquetFile(dataset / shard["path"], memory_map=True) as file:
            for batch in file.iter_batches(batch_size=rows, columns=[*columns, "split"]):
                yield batch.filter(pc.equal(batch["split"], "test"))
