"""Artifacts: the files that a step leaves for later steps, as one archive, named by its SHA-256 and checked before unpacking."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from orchard import layout
from orchard.disk import temporary_folder, writing_to
from orchard.errors import IntegrityError, ObjectNotFound
from orchard.files import hash_pieces, sha256_of
from orchard.runs.records import Artifact
from orchard.store import ObjectStore

__all__ = ["download", "download_unverified", "pack", "unpack", "upload"]

MAX_BYTES = 4 << 30
CHUNK = 1 << 20
HINT = "start the run again under another ORCHARD_RUN_ID"


def _plain(item: tarfile.TarInfo) -> tarfile.TarInfo:
    """Drop owner, time and mode, so that the same files always give the same archive."""
    item.uid = item.gid = 0
    item.uname = item.gname = ""
    item.mtime = 0
    item.mode = 0o755 if item.isdir() else 0o644
    return item


def _files(root: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        path = root / name
        files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        yield from (file.relative_to(root).as_posix() for file in files if not file.is_symlink())


def pack(root: Path, names: Iterable[str], target: IO[bytes]) -> int:
    """Write the files and folders `names` under `root` to a tar archive, missing ones left out; return the number of files."""
    listed = sorted(_files(root, names))
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in listed:
            archive.add(root / name, name, recursive=False, filter=_plain)
    target.flush()
    return len(listed)


def upload(store: ObjectStore, run_id: str, verb: str, root: Path, names: Iterable[str]) -> Artifact | None:
    """Upload the files and folders `names` of a step's folder; return None if none of them exists."""
    with temporary_folder("orchard-artifact-") as folder:
        archive = folder / "archive.tar"
        with archive.open("wb") as file:
            if not pack(root, names, file):
                return None
        sha256 = sha256_of(archive)
        key = layout.run_file(run_id, verb, sha256)
        size = archive.stat().st_size
        store.put_file(key, archive)
    return Artifact(key, sha256, size)


def download(store: ObjectStore, artifact: Artifact, root: Path, allowed: Iterable[str]) -> None:
    """Download the artifact of an earlier step into the folder `root`, and replace the `allowed` files and folders there.

    Raises:
        IntegrityError: it is not in the store, has another SHA-256, or holds a name outside of `allowed`. Nothing was changed.
    """
    try:
        with _downloaded(store, artifact.key) as (file, sha256):
            if sha256 != artifact.sha256:
                raise IntegrityError(
                    f"{artifact.key} is not the artifact that the step left: it has another SHA-256", hint=HINT
                )
            unpack(file, root, allowed, artifact.key)
    except ObjectNotFound as error:
        raise IntegrityError(f"{artifact.key} is not in the store: the run's files have expired", hint=HINT) from error


def download_unverified(store: ObjectStore, key: str, root: Path, allowed: Iterable[str]) -> bool:
    """Download an archive whose SHA-256 is not recorded; return whether it exists. The reader of its files must check them."""
    try:
        with _downloaded(store, key) as (file, _):
            unpack(file, root, allowed, key)
    except ObjectNotFound:
        return False
    return True


@contextmanager
def _downloaded(store: ObjectStore, key: str) -> Iterator[tuple[IO[bytes], str]]:
    """Download an object to a temporary file; yield the file and its SHA-256."""

    def pieces() -> Iterator[bytes]:
        size = 0
        for piece in store.stream(key):
            size += len(piece)
            if size > MAX_BYTES:
                raise IntegrityError(f"{key} has more than {MAX_BYTES} bytes")
            yield piece

    with temporary_folder("orchard-artifact-") as folder, (folder / "archive.tar").open("w+b") as file:
        sha256, _ = hash_pieces(pieces(), into=file)
        file.seek(0)
        yield file, sha256


def unpack(file: IO[bytes], root: Path, allowed: Iterable[str], name: str) -> None:
    """Unpack an archive into a temporary folder, check every name, then move the files into `root`.

    Args:
        file: the archive.
        root: the folder.
        allowed: files and folders that the archive may hold. Those that it holds are replaced in `root`.
        name: the archive's name, for messages.

    Raises:
        IntegrityError: it is not a tar archive, or holds a link, a device, or a name outside of `allowed`. Nothing was changed.
    """
    places = tuple(PurePosixPath(path) for path in allowed)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".artifact-", dir=root) as temporary, writing_to(root.absolute()):
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for item in archive:
                    _unpack_one(archive, item, Path(temporary), places, name)
        except tarfile.TarError as error:
            raise IntegrityError(f"{name} is not a valid archive of a step: {error}") from error
        for place in places:
            _replace(Path(temporary) / place, root / place)


def _unpack_one(
    archive: tarfile.TarFile, item: tarfile.TarInfo, target: Path, places: tuple[PurePosixPath, ...], name: str
) -> None:
    path = PurePosixPath(item.name)
    inside = any(path == place or place in path.parents for place in places)
    if not item.isfile() or not inside or path.is_absolute() or ".." in path.parts or "\\" in item.name:
        raise IntegrityError(f"{name} holds {item.name!r}, which is not an output of the step; nothing was unpacked")
    body = archive.extractfile(item)
    if body is None:
        raise IntegrityError(f"{name}: {item.name!r} has no content")
    unpacked = target / path
    unpacked.parent.mkdir(parents=True, exist_ok=True)
    with body, unpacked.open("xb") as out:
        shutil.copyfileobj(body, out, CHUNK)


def _replace(new: Path, old: Path) -> None:
    if not new.exists():
        return
    if old.is_dir():
        shutil.rmtree(old)
    old.parent.mkdir(parents=True, exist_ok=True)
    new.replace(old)
