"""What this machine has corrected in a dataset: ``.orchard/corrections/<name>.json``.

A correction replaces shards, so a list of shards alone no longer tells which dataset came first. `Index.revision` names
the corrections behind an index, and this log the index that each of them started from, until it is in the store. It is
written before the index: a correction that was killed in between is a line that nothing refers to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from orchard import documents
from orchard.files import atomic_write
from training.data.dvc_project import project_of
from training.data.shards import Index

__all__ = ["CorrectionLog", "PendingCorrection", "descends", "mark_published", "pending_reasons", "read_log", "record"]

MAX_BYTES = 1 << 28


@documents.strict_dataclass
class PendingCorrection:
    """A correction that is not known to be in the store.

    Attributes:
        revision: of the indexes after it.
        before: the document of the index that was corrected.
        why: the reason that the person gave; empty: none.
    """

    revision: str
    before: dict[str, Any]
    why: str


@documents.strict_dataclass
class CorrectionLog:
    """The content of the log.

    Attributes:
        format: always 1.
        removed: the digests of the photos that were removed here, sorted.
        pending: the corrections that are not known to be in the store, the oldest first.
    """

    format: Literal[1]
    removed: tuple[str, ...]
    pending: tuple[PendingCorrection, ...]


def _path(folder: Path) -> Path:
    return project_of(folder) / ".orchard" / "corrections" / f"{folder.name}.json"


def read_log(folder: Path) -> CorrectionLog:
    """Read the log of a dataset folder. Raises `IntegrityError` where it is malformed."""
    path = _path(folder)
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return CorrectionLog(1, (), ())
    return documents.decode(CorrectionLog, documents.parse(body, str(path), limit=MAX_BYTES), str(path))


def _write(folder: Path, log: CorrectionLog) -> None:
    path = _path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(documents.encode(log), ensure_ascii=False) + "\n", fsync=True)


def record(folder: Path, before: Index, revision: str, why: str, removed: Iterable[str]) -> None:
    """Add a correction that is about to be made. Raises `OSError` where the disk fails."""
    log = read_log(folder)
    kept = tuple(item for item in log.pending if item.revision != revision)
    pending = (*kept, PendingCorrection(revision, before.document, why))
    _write(folder, CorrectionLog(1, tuple(sorted({*log.removed, *removed})), pending))


def mark_published(folder: Path) -> None:
    """Forget the pending corrections: the dataset as it is here is in the store."""
    log = read_log(folder)
    if log.pending:
        _write(folder, CorrectionLog(1, log.removed, ()))


def _ancestors(index: dict[str, Any], folder: Path) -> Iterable[tuple[PendingCorrection | None, dict[str, Any]]]:
    """Yield an index, and those that it was corrected from, the newest first, with the correction in between."""
    pending = {item.revision: item for item in read_log(folder).pending}
    yield None, index
    while (item := pending.pop(index.get("revision", ""), None)) is not None:
        index = item.before
        yield item, index


def _extends(index: dict[str, Any], published: dict[str, Any]) -> bool:
    """Whether an index has all shards of a published one, and the same corrections: ingests only add shards."""
    shards = published.get("shards")
    same = index.get("revision") == published.get("revision")
    return same and isinstance(shards, list) and index["shards"][: len(shards)] == shards


def descends(index: Index, published: dict[str, Any], folder: Path) -> bool:
    """Whether an index comes from a published one by ingests and by the corrections that were made here."""
    return any(_extends(ancestor, published) for _, ancestor in _ancestors(index.document, folder))


def pending_reasons(index: Index, published: dict[str, Any] | None, folder: Path) -> str | None:
    """The reasons of the corrections between a published index and this one, the oldest first; None: there is none."""
    reasons = []
    for item, ancestor in _ancestors(index.document, folder):
        reasons += [item.why] if item is not None and item.why else []
        if published is not None and _extends(ancestor, published):
            break
    return "; ".join(dict.fromkeys(reversed(reasons))) or None
