"""A dataset folder under DVC: its bytes are in the bucket under `dvc/`, a small `.dvc` text names them.

DVC itself tracks a folder: it hashes the files, writes the listing and fills its cache. `orchard.store` transfers the
objects between the cache and the remote, with DVC's own keys, so `dvc pull` and `dvc push` by hand still work. A pull
needs no DVC: the `.dvc` text and the listing name every file, and cache and folder hold plain files.

DVC's own transfer is not used, for three reasons: it takes an existing listing as proof that all listed files exist; it
does not check bytes that are in its cache; and it never ends if the store accepts a connection and then sends nothing
(aiohttp waits without a limit for `100 Continue`). Here every byte is hashed in both directions, and every request has
a timeout.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml

from orchard import disk
from orchard import settings as orchard_settings
from orchard.errors import DataError, IntegrityError, ObjectNotFound
from orchard.files import atomic_file, atomic_write, hash_pieces, md5_of
from orchard.formatting import shorten
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.data.dvc_project import (
    PREFIX,
    cache_folder,
    configure,
    init,
    open_project,
    project_of,
    retry_while_locked,
)
from training.data.shards import INDEX
from training.data.staging import staged

__all__ = [
    "HEAL",
    "JOBS",
    "cache_of",
    "has_md5",
    "is_stored",
    "listing_md5",
    "object_key",
    "pull",
    "push",
    "require_cache",
    "track",
]

JOBS = 8
"""Objects that are transferred at the same time."""

T = TypeVar("T")
R = TypeVar("R")

_MD5 = re.compile(r"[0-9a-f]{32}")

HEAL = (
    "run `orchard data heal` where data/ has this dataset: it puts back what the store has lost. If no machine has it, "
    "restore the objects from the backup; or, in an empty folder, `orchard ingest --no-push` the same sources in the "
    "same order, which makes the same files, then `orchard data heal`"
)
"""What to do if the store has lost objects. To ingest into this dataset again is no way out: it needs those objects."""


@dataclass(frozen=True, slots=True)
class _TrackedFile:
    """One file of a tracked folder: its path in it and the MD5 of its bytes."""

    path: str
    md5: str


@dataclass(frozen=True, slots=True)
class _TrackedFolder:
    """The content of a `.dvc` text: a folder and the MD5 of its listing."""

    name: str
    md5: str


def track(folder: Path) -> str:
    """Hash a dataset folder into DVC's cache (`dvc add`); the same content again changes nothing.

    Returns:
        The text of the `.dvc` file beside the folder.

    Raises:
        DataError: there is no such folder, or DVC refuses it.
        ConflictError: another DVC command held the project for a minute.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} to track")
    require_cache(folder)
    with open_project(folder) as repo:
        retry_while_locked(lambda: repo.add([str(folder.absolute())]))
        damaged = _damaged(repo, folder)
        if damaged:  # DVC does not replace files that are in its cache
            for path in damaged.values():
                path.unlink(missing_ok=True)
            retry_while_locked(lambda: repo.add([str(folder.absolute())]))
    return _dvc_file(folder).read_text(encoding="utf-8")


def require_cache(folder: Path) -> None:
    """Raise `DiskError` unless DVC's cache and databases have room for a folder: on a full disk, DVC tries for minutes."""
    root, cache = cache_folder(project_of(folder)), cache_of(folder)
    sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    needed = sum(sizes.values())
    if disk.free_bytes(root) < needed + disk.RESERVE:  # then it pays to hash the files, to see which are there
        needed = sum(size for file, size in sizes.items() if not cache(md5_of(file)).exists())
    disk.require_space(root, needed, f"tracking {folder}/")
    disk.require_space(project_of(folder) / ".dvc" / "tmp", 0, "DVC")


def push(folder: Path, settings: Settings | None = None) -> int:
    """Upload a tracked folder's content to the store, without the objects that the store has already.

    Args:
        folder: as given to `track`.
        settings: the store's settings; None: from the environment.

    Returns:
        How many objects were uploaded.

    Raises:
        IntegrityError: a file in the cache is not the tracked one; nothing was uploaded.
        StoreUnavailable: the store cannot be reached.
        StoreError: it refused an object.
        DataError: the folder is not tracked.
        ConflictError: another DVC command held the project for a minute.
    """
    settings = settings or orchard_settings.load()
    store = open_store(settings)
    tracked = _tracked_folder(folder)
    store.exists(object_key(f"{tracked.md5}.dir"))  # fails early and clearly if the store is down or refuses access
    with open_project(folder, settings) as repo:
        damaged = _damaged(repo, folder)
        if damaged:
            raise IntegrityError(
                f"DVC's cache lost or damaged {len(damaged)} objects of {folder}; nothing was uploaded",
                hint="track the folder again (`orchard ingest` does), or `orchard pull` the published version",
            )
        (listing, listing_path), *files = _cached_files(repo, folder).items()
        count = sum(_map_in_threads(lambda item: _upload(store, *item), files))
        return count + _upload(store, listing, listing_path)  # last: a listing means that all its files are there


def pull(
    folder: Path,
    dvc_text: str,
    settings: Settings | None = None,
    *,
    accept: Callable[[Mapping[str, str]], None] = lambda files: None,
) -> int:
    """Make a folder hold exactly the files of a `.dvc` text: download missing ones, check every byte, delete all others.

    Needs neither git nor DVC. Files with wrong bytes in the cache or in the folder are downloaded again.

    Args:
        folder: the folder to fill; it must have the name that was tracked.
        dvc_text: the text that `track` returned.
        settings: the store's settings; None: from the environment.
        accept: is called with the text's files, path → MD5, before anything is written, and may raise.

    Returns:
        How many objects were downloaded.

    Raises:
        IntegrityError: the text is not that of a tracked folder, or the store lacks an object or holds other bytes than
            the text names. Folder and `.dvc` file are unchanged.
        StoreUnavailable: the store cannot be reached. Folder and `.dvc` file are unchanged.
    """
    settings = settings or orchard_settings.load()
    store = open_store(settings)
    tracked = _parse(dvc_text, folder.name)
    listing = _read_listing(store, tracked)
    files = _parse_listing(listing, tracked.name)
    accept({file.path: file.md5 for file in files})
    init(project_of(folder))
    with suppress(ModuleNotFoundError):  # for `dvc` by hand, where it is installed
        configure(folder, settings)
    cache = cache_of(folder)
    count = _write_to_cache(cache(f"{tracked.md5}.dir"), tracked.md5, [listing]) + _download(store, files, cache)
    _check_out(cache, folder, files)
    if not (_dvc_file(folder).exists() and _dvc_file(folder).read_text(encoding="utf-8") == dvc_text):
        atomic_write(_dvc_file(folder), dvc_text)
    return count


def _cached_files(repo: Any, folder: Path) -> dict[str, Path]:
    """Return the path in the cache of each object of a tracked folder, by MD5, its listing first."""
    cache, tracked = _cache(repo), _tracked_folder(folder)
    listing = f"{tracked.md5}.dir"
    paths = {listing: cache(listing)}
    if has_md5(cache(listing), tracked.md5):
        files = _parse_listing(cache(listing).read_bytes(), tracked.name)
        paths |= {file.md5: cache(file.md5) for file in files}
    return paths


def _damaged(repo: Any, folder: Path) -> dict[str, Path]:
    """Return the objects of a tracked folder that the cache has lost or that have another MD5, by MD5."""
    return {
        oid: path for oid, path in _cached_files(repo, folder).items() if not has_md5(path, oid.removesuffix(".dir"))
    }


def _upload(store: ObjectStore, oid: str, path: Path) -> bool:
    """Upload one object of the cache; return False if the store has it already."""
    if is_stored(store, oid, path.stat().st_size):
        return False
    store.put_file(object_key(oid), path)
    return True


def is_stored(store: ObjectStore, oid: str, size: int) -> bool:
    """Whether the store has an object of this size that is not another one by its ETag. Its bytes are read only if in doubt."""
    md5 = oid.removesuffix(".dir")
    try:
        stat = store.head(object_key(oid))
        if stat.size != size:
            return False
        etag = stat.etag.strip('"')
        # the MD5, unless the object was written in parts or is encrypted
        return etag == md5 or not _MD5.fullmatch(etag) or hash_pieces(store.stream(object_key(oid)), "md5")[0] == md5
    except ObjectNotFound:
        return False


def _download(store: ObjectStore, files: list[_TrackedFile], cache: Callable[[str], Path]) -> int:
    """Download every missing or damaged file to the cache; return how many. Raises `IntegrityError`."""
    names = {file.md5: file.path for file in files}

    def download(md5: str) -> str:
        try:
            return "downloaded" if _write_to_cache(cache(md5), md5, store.stream(object_key(md5))) else "here"
        except ObjectNotFound:
            return "lacks"
        except IntegrityError:
            return "holds other bytes for"

    outcomes = dict(zip(names, _map_in_threads(download, names), strict=True))
    wrong = [
        f"{what} {shorten(paths, 5)}"
        for what in ("lacks", "holds other bytes for")
        if (paths := [names[md5] for md5, outcome in outcomes.items() if outcome == what])
    ]
    if wrong:
        raise IntegrityError(
            f"{store.name} {' and '.join(wrong)}; the folder is unchanged",
            hint=HEAL,
        )
    return sum(outcome == "downloaded" for outcome in outcomes.values())


def _write_to_cache(target: Path, md5: str, pieces: Iterable[bytes]) -> bool:
    """Write an object to the cache; return False, without reading `pieces`, if a sound one is there.

    Raises:
        IntegrityError: the bytes have another MD5; nothing was written.
    """
    if has_md5(target, md5):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target, mode=0o444) as file:  # the mode that DVC gives
        actual, _ = hash_pieces(pieces, "md5", into=file)
        if actual != md5:
            raise IntegrityError(f"{target.name} has the MD5 {actual}")
    return True


def _map_in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function for all items, `JOBS` at a time; the first error is raised."""
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(function, items))


def _check_out(cache: Callable[[str], Path], folder: Path, files: list[_TrackedFile]) -> None:
    """Make a folder hold exactly these files, copied from the cache.

    The index is replaced last: until then, the folder holds the old dataset.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder.parent, folder.name) as staging:
        for file in sorted(files, key=lambda file: file.path == INDEX):
            target, copy = folder / file.path, staging / file.md5
            if has_md5(target, file.md5):
                continue
            shutil.copyfile(cache(file.md5), copy)
            if not has_md5(copy, file.md5):
                raise IntegrityError(
                    f"the copy of {file.path} in {folder} is damaged", hint="check the disk, then pull again"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(target)
    listed = {folder / file.path for file in files}
    for path in sorted(folder.rglob("*"), reverse=True):  # the content of a folder comes before the folder
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in listed:
            path.unlink()


def _dvc_file(folder: Path) -> Path:
    return folder.absolute().with_name(folder.name + ".dvc")


def _tracked_folder(folder: Path) -> _TrackedFolder:
    try:
        return _parse(_dvc_file(folder).read_text(encoding="utf-8"), folder.name)
    except FileNotFoundError as error:
        raise DataError(f"{folder} is not tracked: {_dvc_file(folder)} is not there") from error


def _parse(dvc_text: str, name: str) -> _TrackedFolder:
    """Parse a `.dvc` text. It may come from the store, so only the one tracked folder is accepted."""
    refusal = IntegrityError(f"this is not the .dvc text of a folder {name!r}: {dvc_text[:200]!r}")
    try:
        document = yaml.safe_load(dvc_text)
        (out,) = document["outs"]
        md5 = str(out["md5"]).removesuffix(".dir")
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise refusal from error
    known_keys = set(document) == {"outs"} and set(out) <= {"md5", "size", "nfiles", "hash", "path"}
    is_folder = str(out["md5"]).endswith(".dir") and out.get("hash") == "md5"
    if not (known_keys and is_folder and out.get("path") == name and _MD5.fullmatch(md5)):
        raise refusal
    return _TrackedFolder(name, md5)


def listing_md5(dvc_text: str, name: str) -> str:
    """Return the MD5 of the listing that a `.dvc` text names. Raises `IntegrityError`."""
    return _parse(dvc_text, name).md5


def _parse_listing(body: bytes, name: str) -> list[_TrackedFile]:
    try:
        files = [_TrackedFile(entry["relpath"], entry["md5"]) for entry in json.loads(body)]
        for file in files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts or not path.parts or not _MD5.fullmatch(file.md5):
                raise ValueError(f"{file.path!r} with {file.md5!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the listing of {name!r} is not a valid DVC listing: {error}") from error
    return files


def object_key(oid: str) -> str:
    """Return the key of an object in the bucket, by its MD5, which for a listing ends with ``.dir``."""
    return f"{PREFIX}/files/md5/{oid[:2]}/{oid[2:]}"


def _read_listing(store: ObjectStore, tracked: _TrackedFolder) -> bytes:
    try:
        body = store.get(object_key(f"{tracked.md5}.dir")).body
    except ObjectNotFound as error:
        raise IntegrityError(
            f"{store.name} lacks the listing of {tracked.name!r}: {error.message}",
            hint=f"check ORCHARD_STORE_*: this version may have been pushed to another store. If not: {HEAL}",
        ) from error
    if hash_pieces([body], "md5")[0] != tracked.md5:
        raise IntegrityError(f"the listing of {tracked.name!r} in {store.name} is damaged", hint=HEAL)
    return body


def has_md5(path: Path, md5: str) -> bool:
    """Whether the file exists and has this MD5."""
    try:
        return md5_of(path) == md5
    except (FileNotFoundError, NotADirectoryError):
        return False


def _cache(repo: Any) -> Callable[[str], Path]:
    return lambda oid: Path(repo.cache.local.oid_to_path(oid))


def cache_of(folder: Path) -> Callable[[str], Path]:
    """Return the paths of objects in the cache of the folder's project, without DVC's repository object."""
    root = cache_folder(project_of(folder)) / "files" / "md5"
    return lambda oid: root / oid[:2] / oid[2:]
