"""Files on their way between the steps of a run: packed, named by their bytes, checked before they are unpacked."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from orchard import layout
from orchard.errors import IntegrityError, ObjectNotFound
from orchard.files import hash_pieces, sha256_of
from orchard.runs.records import Artifact
from orchard.store import ObjectStore

__all__ = ["fetch", "fetch_unnamed", "pack", "send", "unpack"]

MAX_BYTES = 4 << 30
CHUNK = 1 << 20
AGAIN = "start the run again under another ORCHARD_RUN_ID"


def _plain(item: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same files make the same archive, whoever packs them when."""
    item.uid = item.gid = 0
    item.uname = item.gname = ""
    item.mtime = 0
    item.mode = 0o755 if item.isdir() else 0o644
    return item


def _files(root: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        path = root / name
        found = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        yield from (item.relative_to(root).as_posix() for item in found if not item.is_symlink())


def pack(root: Path, names: Iterable[str], target: IO[bytes]) -> int:
    """Write files and folders under `root` into a tar archive; what is not there is left out.

    Returns:
        How many files it holds.
    """
    listed = sorted(_files(root, names))
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in listed:
            archive.add(root / name, name, recursive=False, filter=_plain)
    target.flush()
    return len(listed)


def send(store: ObjectStore, run_id: str, verb: str, root: Path, names: Iterable[str]) -> Artifact | None:
    """Bring what a step left to the store; None if it left nothing.

    Args:
        store: where.
        run_id: the run.
        verb: the step.
        root: the folder that it was run in.
        names: files and folders in it.
    """
    with tempfile.NamedTemporaryFile(prefix="orchard-parcel-") as file:
        if not pack(root, names, file):
            return None
        sha256 = sha256_of(Path(file.name))
        key = layout.run_file(run_id, verb, sha256)
        size = Path(file.name).stat().st_size
        store.put_file(key, Path(file.name))
    return Artifact(key, sha256, size)


def fetch(store: ObjectStore, parcel: Artifact, root: Path, allowed: Iterable[str]) -> None:
    """Bring what an earlier step left into a folder; what lies there under the same names is replaced.

    Args:
        store: where it is.
        parcel: what the step's record says of it.
        root: the folder.
        allowed: the files and folders that it may hold.

    Raises:
        IntegrityError: it is not in the store, or is not what the step left; nothing was changed.
    """
    try:
        with _received(store, parcel.key) as (file, sha256):
            if sha256 != parcel.sha256:
                raise IntegrityError(
                    f"{parcel.key} is not what the step left: its bytes have another SHA-256", hint=AGAIN
                )
            unpack(file, root, allowed, parcel.key)
    except ObjectNotFound as error:
        raise IntegrityError(f"{parcel.key} is not in the store: the run's files have expired", hint=AGAIN) from error


def fetch_unnamed(store: ObjectStore, key: str, root: Path, allowed: Iterable[str]) -> bool:
    """`fetch` of an archive whose bytes no record names; returns whether there is one. Whoever reads its files checks them."""
    try:
        with _received(store, key) as (file, _):
            unpack(file, root, allowed, key)
    except ObjectNotFound:
        return False
    return True


@contextmanager
def _received(store: ObjectStore, key: str) -> Iterator[tuple[IO[bytes], str]]:
    """Yield an object as a temporary file, with its SHA-256."""

    def pieces() -> Iterator[bytes]:
        size = 0
        for piece in store.stream(key):
            size += len(piece)
            if size > MAX_BYTES:
                raise IntegrityError(f"{key} has more than {MAX_BYTES} bytes")
            yield piece

    with tempfile.TemporaryFile(prefix="orchard-parcel-") as file:
        sha256, _ = hash_pieces(pieces(), into=file)
        file.seek(0)
        yield file, sha256


def unpack(file: IO[bytes], root: Path, allowed: Iterable[str], what: str) -> None:
    """Unpack an archive whose every name is known to be safe, and put it in place at the end.

    Args:
        file: the archive.
        root: the folder.
        allowed: files and folders in it that the archive may hold; what is there under these names is replaced.
        what: the archive's name, for messages.

    Raises:
        IntegrityError: it is no archive, or holds a link, a device, or a name outside of `allowed`; nothing was changed.
    """
    roots = tuple(PurePosixPath(name) for name in allowed)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".parcel-", dir=root) as temporary:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for item in archive:
                    _unpack_one(archive, item, Path(temporary), roots, what)
        except tarfile.TarError as error:
            raise IntegrityError(f"{what} is no archive of a step: {error}") from error
        for name in roots:
            _replace(Path(temporary) / name, root / name)


def _unpack_one(
    archive: tarfile.TarFile, item: tarfile.TarInfo, target: Path, roots: tuple[PurePosixPath, ...], what: str
) -> None:
    path = PurePosixPath(item.name)
    inside = any(path == name or name in path.parents for name in roots)
    if not item.isfile() or not inside or path.is_absolute() or ".." in path.parts or "\\" in item.name:
        raise IntegrityError(f"{what} holds {item.name!r}, which no step leaves there; nothing was unpacked")
    body = archive.extractfile(item)
    if body is None:
        raise IntegrityError(f"{what}: {item.name!r} has no bytes")
    place = target / path
    place.parent.mkdir(parents=True, exist_ok=True)
    with body, place.open("xb") as out:
        shutil.copyfileobj(body, out, CHUNK)


def _replace(new: Path, place: Path) -> None:
    if not new.exists():
        return
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    new.replace(place)
