"""What the verb `pull` does: a published dataset version → `data/<name>/`, every byte of it checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchard import dataset
from orchard.dataset import DatasetVersion
from orchard.documents import canonical_json
from orchard.errors import DataError, IntegrityError, OrchardError
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.data import dvc_tracking, staging
from training.data.shards import INDEX, Index, is_shard_name, parse_index, read_index, verify

__all__ = ["PullResult", "pull"]


@dataclass(frozen=True, slots=True)
class PullResult:
    """What is in the folder now.

    Attributes:
        version: the dataset version.
        index: its index.
        fetched: how many objects were downloaded; 0 if all was there.
    """

    version: int
    index: Index
    fetched: int


def pull(settings: Settings, folder: Path, version: int | None, note: Callable[[str], None]) -> PullResult:
    """Bring a version of a dataset to `folder` (``data/<name>``).

    Args:
        settings: where the store is.
        folder: its name is the dataset's.
        version: which one; None: the current one.
        note: is told when another command is writing to the datasets.

    Raises:
        DataError: there is no such version, or the folder holds what no published version has; nothing was touched.
        IntegrityError: what the store holds is not what the version names.
        StoreError: the store failed. Run again, it goes on from there.
        ConflictError: another command keeps writing to the datasets.
    """
    store = open_store(settings)
    wanted = _wanted(store, folder.name, version)
    where = f"version {wanted.version} of the dataset {folder.name!r}"
    index = parse_index(canonical_json(wanted.index), where)
    with staging.locked(folder.parent, note):
        _require_nothing_lost(store, folder, index)
        try:
            fetched = dvc_tracking.pull(
                folder, wanted.dvc, settings, accept=lambda files: _require_same(files, index, where)
            )
        except OSError as error:
            raise OrchardError(
                f"this machine's disk failed while {where} came to {folder}: {error.strerror or error}",
                hint="make room or mend it, and pull again: it goes on from what is here",
            ) from error
        try:
            if read_index(folder).digest != wanted.digest:
                raise IntegrityError(f"{where} came with an index that is not its own")
            for shard in index.shards:
                verify(folder, shard)
        except IntegrityError:
            (folder / INDEX).unlink(missing_ok=True)  # without it, nobody takes the folder for a dataset
            raise
    return PullResult(wanted.version, index, fetched)


def _wanted(store: ObjectStore, name: str, version: int | None) -> DatasetVersion:
    if version is not None:
        return dataset.read(store, name, version)
    current = dataset.current(store, name)
    if current is None:
        raise DataError(
            f"{store.name} has no dataset {name!r}",
            hint="`orchard ingest SOURCE…` makes its first version; ORCHARD_DATASET names another",
        )
    return current


def _require_same(files: Mapping[str, str], index: Index, where: str) -> None:
    """Check that DVC's listing (path → MD5) is the index's, before anything is fetched."""
    shards = {path: md5 for path, md5 in files.items() if path != INDEX}
    if INDEX not in files or shards != {shard.path: shard.md5 for shard in index.shards}:
        raise IntegrityError(f"the .dvc text of {where} names other files than its index; nothing was written")


def _require_nothing_lost(store: ObjectStore, folder: Path, index: Index) -> None:
    """Refuse to replace a folder that holds photos which no published version has, or files which no dataset has."""
    if not folder.exists():
        return
    known = {INDEX, *(shard.path for shard in index.shards)}
    unknown = sorted(path.name for path in folder.iterdir() if path.name not in known)
    strangers = [name for name in unknown if not is_shard_name(name)]
    if strangers:
        raise DataError(
            f"{folder} holds {', '.join(strangers[:3])}, which no dataset has; pull would remove it",
            hint="move it away and pull again",
        )
    for number in reversed(dataset.versions(store, folder.name)) if unknown else ():
        for shard in dataset.read(store, folder.name, number).index["shards"]:
            known.add(str(shard["path"]))
    unpublished = [name for name in unknown if name not in known]
    if unpublished:
        raise DataError(
            f"{folder} holds {len(unpublished)} shards that no version in {store.name} has; pull would lose their photos",
            hint=f"move the folder away, pull, and ingest those photos again; or remove them: {', '.join(unpublished[:3])}",
        )
