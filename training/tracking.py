"""A dataset folder under DVC: its bytes in the bucket under `dvc/`, its name in a small `.dvc` text.

What DVC does not promise is done here: it does not look at bytes that are in its cache already, takes an object that
is missing for an assertion, and waits for minutes on a store that is gone. So everything that enters or leaves the
cache is hashed, and the store is asked first through `orchard.store`, which is bounded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from orchard import settings as orchard_settings
from orchard.errors import DataError, IntegrityError, ObjectNotFound, StoreError, StoreUnavailable
from orchard.settings import Settings
from orchard.store import ObjectStore, open_store
from training.project import PREFIX, REMOTE, opened, patiently, write_text

__all__ = ["pull", "push", "track"]

_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a tracked folder: its path in it and the MD5 of its bytes."""

    path: str
    md5: str


@dataclass(frozen=True, slots=True)
class _Tracked:
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
        with _failures(store, "push", folder):
            count = int(patiently(lambda: repo.push([str(_dvc_file(folder))], remote=REMOTE)))
        for oid, path in _cached_files(repo, folder).items():
            if _lacks(store, oid, path):  # DVC takes a listing that is there for proof that all it lists is
                store.put_file(_key(oid), path)
                count += 1
    return count


def pull(
    folder: Path,
    dvc_text: str,
    settings: Settings | None = None,
    *,
    accept: Callable[[Mapping[str, str]], None] = lambda files: None,
) -> int:
    """Make a folder hold exactly what a `.dvc` text names: fetch what is missing, check every byte, drop the rest.

    Needs no git. Bytes that are wrong in the cache or in the folder are fetched again.

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
        ConflictError: another DVC command held the project for a minute.
    """
    settings = settings or orchard_settings.load()
    store = open_store(settings)
    tracked = _parse(dvc_text, folder.name)
    files = _parse_listing(_read_listing(store, tracked), tracked.name)
    accept({file.path: file.md5 for file in files})
    with opened(folder, settings) as repo, _restored_on_error(_dvc_file(folder), dvc_text):
        count = _fetch(repo, store, folder, files)
        _require_checked_out(repo, folder, files)
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


def _fetch(repo: Any, store: ObjectStore, folder: Path, files: list[_File]) -> int:
    """Bring every file into the cache, right; returns how many objects travelled."""
    cache = _cache(repo)
    for md5 in {file.md5 for file in files}:
        if cache(md5).exists() and not _is(cache(md5), md5):
            cache(md5).unlink()
    try:
        with _failures(store, "fetch", folder):
            count = int(patiently(lambda: repo.fetch([str(_dvc_file(folder))], remote=REMOTE)))
    except StoreUnavailable:
        raise
    except StoreError:
        _require_fetched(store, files, cache)  # says which files, where DVC only counts
        raise
    _require_fetched(store, files, cache)
    return count


def _require_fetched(store: ObjectStore, files: list[_File], cache: Callable[[str], Path]) -> None:
    absent = [file for file in files if not _is(cache(file.md5), file.md5)]
    damaged = [file.path for file in absent if store.exists(_key(file.md5))]
    lost = [file.path for file in absent if file.path not in damaged]
    if absent:
        parts = [f"holds other bytes for {_few(damaged)}"] * bool(damaged) + [f"lacks {_few(lost)}"] * bool(lost)
        raise IntegrityError(
            f"{store.name} {' and '.join(parts)}; the folder is left as it was",
            hint="restore those objects from the backup, or ingest the photos again",
        )


def _require_checked_out(repo: Any, folder: Path, files: list[_File]) -> None:
    """Let DVC put the files in place; twice if need be, because it believes times and sizes where we look at bytes."""
    for last in (False, True):
        patiently(lambda: repo.checkout([str(_dvc_file(folder))], force=True))
        wrong = [file.path for file in files if not _is(folder / file.path, file.md5)]
        if not wrong:
            return
        for path in wrong:
            (folder / path).unlink(missing_ok=True)
        if last:
            raise IntegrityError(f"{_few(wrong)} in {folder} came out wrong", hint="is the disk sound? pull again")


def _dvc_file(folder: Path) -> Path:
    resolved = folder.resolve()
    return resolved.with_name(resolved.name + ".dvc")


def _tracked_folder(folder: Path) -> _Tracked:
    try:
        return _parse(_dvc_file(folder).read_text(encoding="utf-8"), folder.name)
    except FileNotFoundError as error:
        raise DataError(f"{folder} is not tracked: {_dvc_file(folder)} is not there") from error


def _parse(dvc_text: str, name: str) -> _Tracked:
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
    return _Tracked(name, md5)


def _parse_listing(body: bytes, name: str) -> list[_File]:
    try:
        files = [_File(entry["relpath"], entry["md5"]) for entry in json.loads(body)]
        for file in files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts or not path.parts or not _MD5.fullmatch(file.md5):
                raise ValueError(f"{file.path!r} with {file.md5!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"the listing of {name!r} is not what DVC writes: {error}") from error
    return files


def _key(oid: str) -> str:
    return f"{PREFIX}/files/md5/{oid[:2]}/{oid[2:]}"


def _read_listing(store: ObjectStore, tracked: _Tracked) -> bytes:
    try:
        body = store.get(_key(f"{tracked.md5}.dir")).body
    except ObjectNotFound as error:
        raise IntegrityError(
            f"{store.name} lacks the listing of {tracked.name!r}: {error.message}",
            hint="was this version pushed to another store? ORCHARD_STORE_* name this one",
        ) from error
    if hashlib.md5(body, usedforsecurity=False).hexdigest() != tracked.md5:
        raise IntegrityError(f"the listing of {tracked.name!r} in {store.name} is damaged")
    return body


def _is(path: Path, md5: str) -> bool:
    """Whether a file is there and has this MD5."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    except (FileNotFoundError, NotADirectoryError):
        return False


def _lacks(store: ObjectStore, oid: str, path: Path) -> bool:
    """Whether the store has no object of this name, or one of another size."""
    try:
        return store.head(_key(oid)).size != path.stat().st_size
    except ObjectNotFound:
        return True


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@contextmanager
def _restored_on_error(path: Path, text: str) -> Iterator[None]:
    """Put `text` into a file; if what follows fails, put back what was there."""
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    if before != text:
        write_text(path, text)
    try:
        yield
    except BaseException:
        if before is None:
            path.unlink(missing_ok=True)
        elif before != text:
            write_text(path, before)
        raise


def _cache(repo: Any) -> Callable[[str], Path]:
    return lambda oid: Path(repo.cache.local.oid_to_path(oid))


@contextmanager
def _failures(store: ObjectStore, what: str, folder: Path) -> Iterator[None]:
    """Say why a transfer failed: DVC only counts."""
    try:
        yield
    except DataError as error:
        store.exists(f"{PREFIX}/files")  # raises what is wrong with the store as a whole
        raise StoreError(f"DVC could not {what} {folder}: {error.message}", hint="run it again") from error
