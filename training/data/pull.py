"""Pull a published dataset version to `data/<name>/`, with every byte checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchard.dataset import Dataset
from orchard.disk import device_of, require_space, writing_to
from orchard.documents import canonical_json
from orchard.errors import DataError, IntegrityError
from orchard.reporter import Reporter
from orchard.settings import Settings
from orchard.store import open_store
from training.data import dvc_tracking, staging
from training.data.dvc_project import cache_folder, project_of, require_no_link
from training.data.published_version import remember_version
from training.data.shards import INDEX, Index, is_shard_name, parse_index, read_index, verify

__all__ = ["PullResult", "pull"]


@dataclass(frozen=True, slots=True)
class PullResult:
    """What the folder holds after a pull.

    Attributes:
        version: the dataset version.
        index: its index.
        fetched: how many objects were downloaded.
    """

    version: int
    index: Index
    fetched: int


def pull(settings: Settings, folder: Path, version: int | None, reporter: Reporter) -> PullResult:
    """Download a version of a dataset to `folder` (``data/<name>``).

    Args:
        settings: the store's settings.
        folder: the dataset's folder.
        version: the version; None: the current one.
        reporter: reports that another command is writing to the datasets.

    Raises:
        DataError: there is no such version, or the folder holds files that no published version has; nothing was changed.
        IntegrityError: the store's content is not that of the version.
        StoreError: the store failed. A second pull resumes.
        DiskError: there is no room for it, or the disk fails. A second pull resumes.
        ConflictError: another command keeps writing to the datasets.
    """
    dataset = Dataset(open_store(settings), folder.name)
    published = dataset.require(version)
    where = f"version {published.version} of the dataset {folder.name!r}"
    index = parse_index(canonical_json(published.index), where)
    require_no_link(folder)
    with staging.locked(folder.parent, reporter):
        _require_nothing_lost(dataset, folder, index)
        _require_room(folder, index)
        with writing_to(folder.parent, "a second pull resumes"):
            fetched = dvc_tracking.pull(
                folder, published.dvc, settings, accept=lambda files: _require_same(files, index, where)
            )
        try:
            if read_index(folder).digest != published.digest:
                raise IntegrityError(f"{where} has the index of another version")
            for shard in index.shards:
                verify(folder, shard)
        except IntegrityError:
            (folder / INDEX).unlink(missing_ok=True)  # without it, the folder is not a dataset
            raise
    remember_version(folder, published.version, published.digest)
    return PullResult(published.version, index, fetched)


def _require_room(folder: Path, index: Index) -> None:
    """Raise `DiskError` unless the shards that are missing fit into DVC's cache and into the folder."""
    cache, purpose = dvc_tracking.cache_of(folder), f"pulling {folder}/"
    cached = sum(shard.bytes for shard in index.shards if not cache(shard.md5).exists())
    copied = sum(shard.bytes for shard in index.shards if not (folder / shard.path).exists())
    root = cache_folder(project_of(folder))
    require_space(root, cached, purpose)
    same = device_of(root) == device_of(folder)
    require_space(folder.parent, copied + (cached if same else 0), purpose)


def _require_same(files: Mapping[str, str], index: Index, where: str) -> None:
    """Check that DVC's listing (path → MD5) has the index's files, before anything is downloaded."""
    shards = {path: md5 for path, md5 in files.items() if path != INDEX}
    if INDEX not in files or shards != {shard.path: shard.md5 for shard in index.shards}:
        raise IntegrityError(f"the .dvc text of {where} names other files than its index; nothing was written")


def _require_nothing_lost(dataset: Dataset, folder: Path, index: Index) -> None:
    """Raise if the folder holds photos that no published version has, or files that no dataset has."""
    if not folder.exists():
        return
    known = {INDEX, *(shard.path for shard in index.shards)}
    unknown = sorted(path.name for path in folder.iterdir() if path.name not in known)
    foreign = [name for name in unknown if not is_shard_name(name)]
    if foreign:
        raise DataError(
            f"{folder} holds {', '.join(foreign[:3])}, which no dataset has; pull would delete it",
            hint="move it away and pull again",
        )
    for number in reversed(dataset.versions()) if unknown else ():
        for shard in dataset.version(number).index["shards"]:
            known.add(str(shard["path"]))
    unpublished = [name for name in unknown if name not in known]
    if unpublished:
        raise DataError(
            f"{folder} holds {len(unpublished)} shards that no version in {dataset.store.name} has; pull would lose their photos",
            hint=f"move the folder away, pull, and ingest those photos again; or delete them: {', '.join(unpublished[:3])}",
        )
