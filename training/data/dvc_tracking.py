"""A dataset folder under DVC: its bytes in the bucket under `dvc/`, its name in a small `.dvc` text.

To track a folder, DVC hashes, lists and keeps the cache. The objects between its cache and its remote go through
`orchard.store`, into the keys where DVC looks for them, so `dvc pull` and `dvc push` by hand find and leave the same.
To pull a folder, DVC is not needed: its `.dvc` text and its listing name every file, and cache and folder are plain files.
DVC's own transfer takes a listing that is there for proof that all it lists is, does not look at bytes that are in its
cache already, and on a store that accepts a connection and falls silent it never ends (aiohttp waits without a limit
for `100 Continue`). Here every byte is hashed on its way in and out, and every request is bounded.
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

from orchard import settings as orchard_settings
from orchard.errors import DataError, IntegrityError, ObjectNotFound
from orchard.files import atomic_file, atomic_write, hash_pieces, md5_of
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.data.dvc_project import PREFIX, configure, init, opened, patiently, project_of
from training.data.shards import INDEX
from training.data.staging import staged

__all__ = ["pull", "push", "track"]

JOBS = 8
"""Objects on their way at the same time."""

T = TypeVar("T")
R = TypeVar("R")

_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _TrackedFile:
    """One file of a tracked folder: its path in it and the MD5 of its bytes."""

    path: str
    md5: str


@dataclass(frozen=True, slots=True)
class _TrackedFolder:
    """What a `.dvc` text names: a folder, by the MD5 of its listing."""

    name: str
    md5: str


def track(folder: Path) -> str:
    """Hash a dataset folder into DVC's cache (`dvc add`); the same content again changes nothing.

    Returns:
        The text of the `.dvc` file that now stands beside the folder.

    Raises:
        DataError: there is no such folder, or DVC refuses it.
        ConflictError: another DVC command held the project for a minute.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} to track")
    with opened(folder) as repo:
        patiently(lambda: repo.add([str(folder.resolve())]))
        damaged = _damaged(repo, folder)
        if damaged:  # DVC leaves what is in its cache already as it is
            for path in damaged.values():
                path.unlink(missing_ok=True)
            patiently(lambda: repo.add([str(folder.resolve())]))
    return _dvc_file(folder).read_text(encoding="utf-8")


def push(folder: Path, settings: Settings | None = None) -> int:
    """Bring a tracked folder's content to the store; what is there already does not travel.

    Args:
        folder: as given to `track`.
        settings: where the store is; None: the environment's.

    Returns:
        How many objects were uploaded.

    Raises:
        IntegrityError: a file in the cache is not what was tracked; nothing wrong was uploaded.
        StoreUnavailable: the store cannot be reached.
        StoreError: it refused an object.
        DataError: the folder is not tracked.
        ConflictError: another DVC command held the project for a minute.
    """
    settings = settings or orchard_settings.load()
    store = open_store(settings)
    tracked = _tracked_folder(folder)
    store.exists(_key(f"{tracked.md5}.dir"))  # a store that is down or refuses us says so here, soon and clearly
    with opened(folder, settings) as repo:
        damaged = _damaged(repo, folder)
        if damaged:
            raise IntegrityError(
                f"DVC's cache lost or damaged {len(damaged)} objects of {folder}; nothing was uploaded",
                hint="track the folder again (`orchard ingest` does), or `orchard pull` the published version",
            )
        (listing, its_path), *files = _cached_files(repo, folder).items()
        count = sum(_together(lambda item: _upload(store, *item), files))
        return count + _upload(store, listing, its_path)  # last: it says that all is there


def pull(
    folder: Path,
    dvc_text: str,
    settings: Settings | None = None,
    *,
    accept: Callable[[Mapping[str, str]], None] = lambda files: None,
) -> int:
    """Make a folder hold exactly what a `.dvc` text names: fetch what is missing, check every byte, drop the rest.

    Needs neither git nor DVC. Bytes that are wrong in the cache or in the folder are fetched again.

    Args:
        folder: where it goes; its name must be the one that was tracked.
        dvc_text: what `track` returned.
        settings: where the store is; None: the environment's.
        accept: is given what the text names, path → MD5, before anything is written, and may raise.

    Returns:
        How many objects were downloaded.

    Raises:
        IntegrityError: the text is not one of a tracked folder, or the store lacks an object or holds other bytes than
            the text names. Folder and `.dvc` file are as they were.
        StoreUnavailable: the store cannot be reached; likewise.
    """
    settings = settings or orchard_settings.load()
    store = open_store(settings)
    tracked = _parse(dvc_text, folder.name)
    listing = _read_listing(store, tracked)
    files = _parse_listing(listing, tracked.name)
    accept({file.path: file.md5 for file in files})
    init(project_of(folder))
    with suppress(ModuleNotFoundError):  # for DVC by hand, where it is installed
        configure(folder, settings)
    cache = _plain_cache(folder)
    count = _write_to_cache(cache(f"{tracked.md5}.dir"), tracked.md5, [listing]) + _fetch(store, files, cache)
    _check_out(cache, folder, files)
    if not (_dvc_file(folder).exists() and _dvc_file(folder).read_text(encoding="utf-8") == dvc_text):
        atomic_write(_dvc_file(folder), dvc_text)
    return count


def _cached_files(repo: Any, folder: Path) -> dict[str, Path]:
    """Return where the cache holds each object of a tracked folder, by MD5, its listing first."""
    cache, tracked = _cache(repo), _tracked_folder(folder)
    listing = f"{tracked.md5}.dir"
    found = {listing: cache(listing)}
    if _is(cache(listing), tracked.md5):
        files = _parse_listing(cache(listing).read_bytes(), tracked.name)
        found |= {file.md5: cache(file.md5) for file in files}
    return found


def _damaged(repo: Any, folder: Path) -> dict[str, Path]:
    """Return the objects of a tracked folder that the cache has lost or that are not what their name says, by MD5."""
    found = _cached_files(repo, folder)
    return {oid: path for oid, path in found.items() if not _is(path, oid.removesuffix(".dir"))}


def _upload(store: ObjectStore, oid: str, path: Path) -> bool:
    """Bring one object of the cache to the store; False if it was there with the same size."""
    try:
        if store.head(_key(oid)).size == path.stat().st_size:
            return False
    except ObjectNotFound:
        pass
    store.put_file(_key(oid), path)
    return True


def _fetch(store: ObjectStore, files: list[_TrackedFile], cache: Callable[[str], Path]) -> int:
    """Bring every file into the cache, right; returns how many objects travelled. Raises `IntegrityError`."""
    names = {file.md5: file.path for file in files}

    def fetch(md5: str) -> str:
        try:
            return "fetched" if _write_to_cache(cache(md5), md5, store.stream(_key(md5))) else "here"
        except ObjectNotFound:
            return "lacks"
        except IntegrityError:
            return "holds other bytes for"

    said = dict(zip(names, _together(fetch, names), strict=True))
    wrong = [
        f"{what} {_few(concerned)}"
        for what in ("lacks", "holds other bytes for")
        if (concerned := [names[md5] for md5, outcome in said.items() if outcome == what])
    ]
    if wrong:
        raise IntegrityError(
            f"{store.name} {' and '.join(wrong)}; the folder is left as it was",
            hint="restore those objects from the backup, or ingest the photos again",
        )
    return sum(outcome == "fetched" for outcome in said.values())


def _write_to_cache(target: Path, md5: str, pieces: Iterable[bytes]) -> bool:
    """Put an object into the cache, unless it is there and right; `pieces` is not begun then, and False returned.

    Raises:
        IntegrityError: the bytes are not what their name says; nothing was put there.
    """
    if _is(target, md5):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target, mode=0o444) as file:  # as DVC keeps it
        found, _ = hash_pieces(pieces, "md5", into=file)
        if found != md5:
            raise IntegrityError(f"{target.name} has the MD5 {found}")
    return True


def _together(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call a function for all items, a few at a time; the first error ends it."""
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(function, items))


def _check_out(cache: Callable[[str], Path], folder: Path, files: list[_TrackedFile]) -> None:
    """Make a folder hold exactly these files, all of them in the cache.

    The index comes last: until then, the folder is the dataset that it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder.parent, folder.name) as staging:
        for file in sorted(files, key=lambda file: file.path == INDEX):
            target, copy = folder / file.path, staging / file.md5
            if _is(target, file.md5):
                continue
            shutil.copyfile(cache(file.md5), copy)
            if not _is(copy, file.md5):
                raise IntegrityError(f"{file.path} in {folder} came out wrong", hint="is the disk sound? pull again")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(target)
    named = {folder / file.path for file in files}
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in named:
            path.unlink()


def _dvc_file(folder: Path) -> Path:
    resolved = folder.resolve()
    return resolved.with_name(resolved.name + ".dvc")


def _tracked_folder(folder: Path) -> _TrackedFolder:
    try:
        return _parse(_dvc_file(folder).read_text(encoding="utf-8"), folder.name)
    except FileNotFoundError as error:
        raise DataError(f"{folder} is not tracked: {_dvc_file(folder)} is not there") from error


def _parse(dvc_text: str, name: str) -> _TrackedFolder:
    """Read a `.dvc` text. It may come from the store, so nothing but the one folder is let through."""
    refusal = IntegrityError(f"this is not the .dvc text of a folder {name!r}: {dvc_text[:200]!r}")
    try:
        document = yaml.safe_load(dvc_text)
        (out,) = document["outs"]
        md5 = str(out["md5"]).removesuffix(".dir")
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise refusal from error
    fits = set(document) == {"outs"} and set(out) <= {"md5", "size", "nfiles", "hash", "path"}
    is_folder = str(out["md5"]).endswith(".dir") and out.get("hash") == "md5"
    if not (fits and is_folder and out.get("path") == name and _MD5.fullmatch(md5)):
        raise refusal
    return _TrackedFolder(name, md5)


def _parse_listing(body: bytes, name: str) -> list[_TrackedFile]:
    try:
        files = [_TrackedFile(entry["relpath"], entry["md5"]) for entry in json.loads(body)]
        for file in files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts or not path.parts or not _MD5.fullmatch(file.md5):
                raise ValueError(f"{file.path!r} with {file.md5!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the listing of {name!r} is not what DVC writes: {error}") from error
    return files


def _key(oid: str) -> str:
    return f"{PREFIX}/files/md5/{oid[:2]}/{oid[2:]}"


def _read_listing(store: ObjectStore, tracked: _TrackedFolder) -> bytes:
    try:
        body = store.get(_key(f"{tracked.md5}.dir")).body
    except ObjectNotFound as error:
        raise IntegrityError(
            f"{store.name} lacks the listing of {tracked.name!r}: {error.message}",
            hint="was this version pushed to another store? ORCHARD_STORE_* name this one",
        ) from error
    if hash_pieces([body], "md5")[0] != tracked.md5:
        raise IntegrityError(f"the listing of {tracked.name!r} in {store.name} is damaged")
    return body


def _is(path: Path, md5: str) -> bool:
    """Whether a file is there and has this MD5."""
    try:
        return md5_of(path) == md5
    except (FileNotFoundError, NotADirectoryError):
        return False


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _cache(repo: Any) -> Callable[[str], Path]:
    return lambda oid: Path(repo.cache.local.oid_to_path(oid))


def _plain_cache(folder: Path) -> Callable[[str], Path]:
    """Where DVC's cache holds an object unless its configuration says otherwise."""
    root = project_of(folder) / ".dvc" / "cache" / "files" / "md5"
    return lambda oid: root / oid[:2] / oid[2:]
