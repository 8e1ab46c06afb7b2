"""Upload and download of a version's files; every transfer checks size and SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchard import layout
from orchard.disk import writing_to
from orchard.errors import DataError, IntegrityError, ObjectNotFound
from orchard.files import sha256_of
from orchard.registry.manifest import ManifestFile, check_files
from orchard.store.objects import ObjectStore

__all__ = ["find_problem", "read_files", "receive", "upload"]

REPAIR = "publish the same files again to repair it"


def read_files(folder: Path) -> tuple[ManifestFile, ...]:
    """Hash every file of a SavedModel folder, by path.

    Raises:
        DataError: there is no folder, neither `saved_model.pb` nor `saved_model.pbtxt` in it, or it holds a symlink or a special file.
        IntegrityError: paths or sizes break a rule of `orchard.registry.manifest.check_files`.
    """
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise DataError(f"{folder} is not a SavedModel: it has no saved_model.pb and no saved_model.pbtxt")
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is a link or a special file; only plain files are published")
        if path.is_file():
            files.append(ManifestFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)))
    check_files(files, str(folder))
    return tuple(files)


def _pieces(store: ObjectStore, model: str, file: ManifestFile) -> Iterator[bytes]:
    """Yield a blob's bytes, and raise `IntegrityError` where they deviate from the file's size and SHA-256."""
    key, digest, size = layout.blob(model, file.sha256), hashlib.sha256(), 0
    try:
        for piece in store.stream(key):
            size += len(piece)
            if size > file.size:
                raise IntegrityError(f"{key} is longer than the {file.size} bytes that {file.path} has", hint=REPAIR)
            digest.update(piece)
            yield piece
    except ObjectNotFound as error:
        raise IntegrityError(f"{key}, which holds {file.path}, is missing", hint=REPAIR) from error
    if size != file.size:
        raise IntegrityError(f"{key} ends after {size} bytes; {file.path} has {file.size}", hint=REPAIR)
    if digest.hexdigest() != file.sha256:
        raise IntegrityError(f"{key} no longer holds {file.path}: its bytes have another SHA-256", hint=REPAIR)


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
    """Upload every file and read it back; a blob that is in the store and valid is not sent again."""
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
    """Download one file of a version, check it, and flush it to the disk; stop at the declared size.

    Args:
        store: the store.
        model: the model's name.
        file: the file's entry in the verified manifest.
        path: the target; must not exist. After an error its content is invalid.
        count: called with the number of bytes of each piece.

    Raises:
        IntegrityError: the blob is missing in the store, or is not what was published.
        StoreError: the store did not answer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_to(path.parent), path.open("xb") as body:
        for piece in _pieces(store, model, file):
            body.write(piece)
            count(len(piece))
        body.flush()
        os.fsync(body.fileno())
