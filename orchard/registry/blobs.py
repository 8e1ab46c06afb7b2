"""A version's files on their way between a disk and the store; size and SHA-256 are checked on every way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchard import layout
from orchard.errors import DataError, IntegrityError, ObjectNotFound
from orchard.files import sha256_of
from orchard.registry.manifest import ManifestFile, check_files
from orchard.store.objects import ObjectStore

__all__ = ["find_problem", "read_files", "receive", "upload"]

AGAIN = "publishing the same files again mends it"


def read_files(folder: Path) -> tuple[ManifestFile, ...]:
    """Hash every file of a SavedModel folder, by path.

    Raises:
        DataError: there is no folder, no `saved_model.pb` in it, or it holds a symlink or a special file.
        IntegrityError: paths or sizes break a rule of `orchard.registry.manifest.check_files`.
    """
    if not (folder / "saved_model.pb").is_file():
        raise DataError(f"{folder} is no SavedModel: there is no saved_model.pb in it")
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is a link or a special file; only plain files are published")
        if path.is_file():
            found.append(ManifestFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)))
    check_files(found, str(folder))
    return tuple(found)


def _pieces(store: ObjectStore, model: str, file: ManifestFile) -> Iterator[bytes]:
    """Yield a blob's bytes, and raise `IntegrityError` where they deviate from the file's size and SHA-256."""
    key, digest, size = layout.blob(model, file.sha256), hashlib.sha256(), 0
    try:
        for piece in store.stream(key):
            size += len(piece)
            if size > file.size:
                raise IntegrityError(f"{key} is longer than the {file.size} bytes that {file.path} has", hint=AGAIN)
            digest.update(piece)
            yield piece
    except ObjectNotFound as error:
        raise IntegrityError(f"{key}, which holds {file.path}, is missing", hint=AGAIN) from error
    if size != file.size:
        raise IntegrityError(f"{key} ends after {size} bytes; {file.path} has {file.size}", hint=AGAIN)
    if digest.hexdigest() != file.sha256:
        raise IntegrityError(f"{key} does not hold {file.path} any more: its bytes have another SHA-256", hint=AGAIN)


def find_problem(store: ObjectStore, model: str, file: ManifestFile) -> str | None:
    """Read a blob back; return what is wrong with it, or None."""
    key = layout.blob(model, file.sha256)
    try:
        size = store.head(key).size
        if size != file.size:
            return f"{key} has {size} bytes; {file.path} needs {file.size}"
        for _ in _pieces(store, model, file):
            pass
    except ObjectNotFound:
        return f"{key}, which holds {file.path}, is missing"
    except IntegrityError as error:
        return error.message
    return None


def upload(store: ObjectStore, model: str, folder: Path, files: Iterable[ManifestFile]) -> None:
    """Bring every file into the store and read it back; one that is there and right is not sent again."""
    for file in {file.sha256: file for file in files}.values():
        if find_problem(store, model, file) is None:
            continue
        store.put_file(layout.blob(model, file.sha256), folder / file.path)
        problem = find_problem(store, model, file)
        if problem:
            raise IntegrityError(
                f"after the upload, {problem}", hint=f"did {folder / file.path} change meanwhile? publish again"
            )


def receive(
    store: ObjectStore, model: str, file: ManifestFile, path: Path, count: Callable[[int], None] = lambda size: None
) -> None:
    """Stream one file of a version to disk, hashing and counting, and flush it; stop at the declared size.

    Args:
        store: where it comes from.
        model: whose it is.
        file: what its verified manifest says of it.
        path: where it goes; must not exist. What is there after an error is not the file.
        count: called with the number of each piece's bytes.

    Raises:
        IntegrityError: it is missing in the store, or is not what was published.
        StoreError: the store did not answer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as body:
        for piece in _pieces(store, model, file):
            body.write(piece)
            count(len(piece))
        body.flush()
        os.fsync(body.fileno())
