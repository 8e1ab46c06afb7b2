"""The photos that the demo and a deployment predict: test photos, among those that `orchard ingest` took."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchard.errors import DataError
from training.data.shards import iterate
from training.orientation import PNG

__all__ = ["UnseenPhoto", "choose_unseen"]

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
        IntegrityError: a shard is missing or damaged.
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
    for batch in iterate(dataset, columns=("label", "source", "sha256"), splits=["test"]):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _bodies(dataset: Path, digests: Container[str]) -> Iterator[tuple[str, bytes]]:
    for batch in iterate(dataset, columns=("image.bytes", "sha256"), splits=["test"], rows=100):
        for digest, image in zip(batch["sha256"].to_pylist(), batch["image"], strict=True):
            if digest in digests:
                yield digest, image["bytes"].as_py()
