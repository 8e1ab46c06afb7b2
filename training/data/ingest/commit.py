"""The dataset folder → DVC remote → a version in the store. The pointer moves last; a second commit changes nothing."""

from __future__ import annotations

from pathlib import Path

from orchard.dataset import CommitResult, Dataset, DatasetVersion
from orchard.errors import ConflictError, IntegrityError
from orchard.reporter import Reporter
from orchard.runs import records
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.data import correction_log, dvc_tracking, remote_objects
from training.data.published_version import remember_version
from training.data.shards import INDEX, Index, read_index

__all__ = ["check_lineage", "commit"]


def check_lineage(store: ObjectStore, folder: Path) -> DatasetVersion | None:
    """Compare the folder with the published dataset, before any work.

    Returns:
        The current version in the store, or None if there is none.

    Raises:
        ConflictError: the store has photos that this folder lacks; a version of this folder would lose them.
        StoreError: the store cannot be read.
    """
    current = Dataset(store, folder.name).current()
    if current is None:
        return None
    index = read_index(folder) if (folder / INDEX).exists() else None
    if index is None or not correction_log.descends(index, current.index, folder):
        problem = "has other photos" if index else "does not exist"
        raise ConflictError(
            f"{store.name} has version {current.version} of the dataset {folder.name!r}, and {folder}/ {problem}",
            hint="run `orchard pull`, which downloads that version, then the same command again; or choose another --dataset",
        )
    return current


def commit(settings: Settings, folder: Path, index: Index, reporter: Reporter) -> CommitResult:
    """Upload the folder's content and make it the current version; put back what the store has lost of the one before.

    Raises:
        ConflictError: another commit was first.
        IntegrityError: the folder changed during the upload.
        StoreError: the store failed. The folder is complete; a second commit resumes.
    """
    store = open_store(settings)
    parent = check_lineage(store, folder)
    dvc_file = folder.with_name(f"{folder.name}.dvc")
    old_text = dvc_file.read_text(encoding="utf-8") if dvc_file.exists() else None
    if parent:  # a version in the store is no proof that its objects still are
        restored = remote_objects.heal(store, [parent], folder, thorough=False).restored
        if restored:
            reporter.note(f"{store.name} had lost {', '.join(restored)}: put back")
    if parent and (parent.digest, parent.dvc) == (index.digest, old_text):
        correction_log.mark_published(folder)
        remember_version(folder, parent.version, parent.digest)
        return CommitResult(parent, created=False)
    dvc_text = dvc_tracking.track(folder)
    dvc_tracking.push(folder, settings)
    if read_index(folder).digest != index.digest:
        raise IntegrityError(
            f"{folder}/ was changed by another program during the upload", hint="run the same command again"
        )
    committed = Dataset(store, folder.name).commit(
        index.document,
        dvc_text,
        parent=parent.version if parent else None,
        created_by=records.actor(settings),
        run_id=settings.run_id,
        why=correction_log.pending_reasons(index, parent.index if parent else None, folder),
    )
    correction_log.mark_published(folder)
    remember_version(folder, committed.version.version, committed.version.digest)
    return committed
