"""The dataset folder → DVC remote → a version in the store. The pointer moves last; done again, nothing is done twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchard.dataset import Dataset, DatasetVersion
from orchard.errors import ConflictError, IntegrityError
from orchard.runs import records
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.data import dvc_tracking
from training.data.shards import INDEX, Index, read_index

__all__ = ["DatasetCommitResult", "check_lineage", "release"]


@dataclass(frozen=True, slots=True)
class DatasetCommitResult:
    """What is in the store now.

    Attributes:
        version: its current version.
        created: whether it was made just now.
    """

    version: int
    created: bool


def _descends(index: Index, version: DatasetVersion) -> bool:
    """Whether a dataset holds everything that a published version holds: shards are only ever added."""
    shards = version.index.get("shards")
    return isinstance(shards, list) and index.document["shards"][: len(shards)] == shards


def check_lineage(store: ObjectStore, folder: Path) -> DatasetVersion | None:
    """Compare what is here with what is published, before any work.

    Returns:
        The current version in the store, or None if there is none.

    Raises:
        ConflictError: the store has photos that this folder lacks: a version made from here would lose them.
        StoreError: the store cannot be asked.
    """
    current = Dataset(store, folder.name).current()
    if current is None:
        return None
    here = read_index(folder) if (folder / INDEX).exists() else None
    if here is None or not _descends(here, current):
        what = "has other photos" if here else "is not there"
        raise ConflictError(
            f"{store.name} has version {current.version} of the dataset {folder.name!r}, and {folder}/ {what}",
            hint="`orchard pull` brings that version here; then run the same command again. Or choose another --dataset",
        )
    return current


def release(settings: Settings, folder: Path, index: Index) -> DatasetCommitResult:
    """Bring the folder's content to the store and make it the current version.

    Raises:
        ConflictError: somebody else was first.
        IntegrityError: a file changed while it was on its way.
        StoreError: the store failed. The folder is complete; run again, it goes on from there.
    """
    store = open_store(settings)
    parent = check_lineage(store, folder)
    note = folder.with_name(f"{folder.name}.dvc")
    if parent and parent.digest == index.digest and note.exists() and note.read_text(encoding="utf-8") == parent.dvc:
        return DatasetCommitResult(parent.version, created=False)
    dvc_text = dvc_tracking.track(folder)
    dvc_tracking.push(folder, settings)
    if read_index(folder).digest != index.digest:
        raise IntegrityError(f"{folder}/ was changed by somebody else meanwhile", hint="run the same command again")
    committed = Dataset(store, folder.name).commit(
        index.document,
        dvc_text,
        parent=parent.version if parent else None,
        created_by=records.actor(settings),
        run_id=settings.run_id,
    )
    return DatasetCommitResult(committed.version.version, committed.created)
