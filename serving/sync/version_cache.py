"""The versions on disk: `<base>/<n>/` as an engine reads them, each with its signed manifest.

A folder whose name is a number is complete: one rename gave it that name, after its last byte was on the disk. With the
copy of the manifest under `.manifests/` a restart verifies that again without a store: every file is hashed again.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from orchard.errors import IntegrityError
from orchard.files import Stamp, atomic_write, file_stamp, fsync_directory, sha256_of
from orchard.registry.manifest import Manifest, read_manifest_bytes
from orchard.signing import TrustedKeys

__all__ = ["DiskStamp", "VersionCache", "check_bytes", "remove_tree"]

DiskStamp = tuple[tuple[str, Stamp | None], ...]
_STAGING = ".staging-"
_TRASH = ".trash-"
_MANIFESTS = ".manifests"


def remove_tree(folder: Path) -> None:
    """Remove a folder so that nobody ever sees half of it under its own name."""
    trash = folder.with_name(f"{_TRASH}{folder.name.lstrip('.')}-{uuid.uuid4().hex[:8]}")
    folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def check_bytes(folder: Path, manifest: Manifest) -> None:
    """Check that a folder holds exactly a manifest's files, byte for byte.

    Raises:
        IntegrityError: a file is missing, surplus, a link, or has other bytes than the manifest says.
    """
    present: set[str] = set()
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *names)):
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise IntegrityError(f"{path} is a link or a special file")
        present.update((Path(parent) / name).relative_to(folder).as_posix() for name in names)
    difference = sorted(present ^ {file.path for file in manifest.files})
    if difference:
        raise IntegrityError(f"{folder} does not hold exactly the manifest's files: {', '.join(difference[:4])}")
    for file in manifest.files:
        if sha256_of(folder / file.path) != file.sha256:
            raise IntegrityError(f"{folder / file.path} does not match the manifest: another SHA-256")


class VersionCache:
    """The folder of one model.

    Args:
        serving_dir: the folder that sync and the engine share.
        model: the model's name.
    """

    def __init__(self, serving_dir: Path, model: str) -> None:
        self.model = model
        self.base = (serving_dir / model).resolve()
        self.base.mkdir(parents=True, exist_ok=True)
        (self.base / _MANIFESTS).mkdir(exist_ok=True)

    def folder(self, version: int) -> Path:
        """The folder of a version, whether it exists or not."""
        return self.base / str(version)

    def versions(self) -> list[int]:
        """The versions on disk, ascending."""
        return sorted(int(child.name) for child in self.base.iterdir() if child.name.isdigit() and child.is_dir())

    def stamp(self, version: int) -> DiskStamp:
        """Return what changes when somebody replaces, changes or removes a file of a version; costs a call for each file."""
        folder = self.folder(version)
        paths = [Path(parent) / name for parent, _, names in os.walk(folder) for name in ("", *names)]
        return tuple((str(path), file_stamp(path)) for path in sorted(paths))

    def used_bytes(self) -> int:
        """Bytes of all files under the folder."""
        total = 0
        for parent, _, names in os.walk(self.base):
            for name in names:
                with suppress(OSError):  # it was removed meanwhile
                    total += (Path(parent) / name).lstat().st_size
        return total

    def stage(self, version: int) -> Path:
        """Make an empty folder to assemble a version in, on the same volume."""
        folder = self.base / f"{_STAGING}{version}-{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        return folder

    def _manifest_path(self, version: int) -> Path:
        return self.base / _MANIFESTS / f"{version}.json"

    def put(self, staged: Path, manifest: Manifest, document: bytes) -> None:
        """Give a staged version its name. After any interruption, the name belongs to the complete version or to nothing.

        Args:
            staged: the folder that `stage` made, its files written and flushed.
            manifest: the version's manifest.
            document: the manifest's signed bytes.
        """
        folder = self.folder(manifest.version)
        for parent, _, _ in os.walk(staged, topdown=False):
            fsync_directory(Path(parent))
        atomic_write(self._manifest_path(manifest.version), document, fsync=True)
        if folder.exists():  # it is damaged
            remove_tree(folder)
        staged.rename(folder)
        fsync_directory(self.base)

    def manifest(self, version: int, trusted: TrustedKeys) -> Manifest:
        """Read the copy of a version's manifest. Raises `IntegrityError` if it is missing or not trusted."""
        path = self._manifest_path(version)
        try:
            body = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{self.folder(version)} has no manifest: {error}") from error
        return read_manifest_bytes(body, trusted, self.model, version, str(path))

    def verify(self, version: int, trusted: TrustedKeys) -> Manifest:
        """Verify a version on disk: its manifest's signature and every byte. Raises `IntegrityError`."""
        manifest = self.manifest(version, trusted)
        check_bytes(self.folder(version), manifest)
        return manifest

    def remove(self, version: int) -> None:
        """Remove a version and its manifest."""
        if self.folder(version).exists():
            remove_tree(self.folder(version))
        self._manifest_path(version).unlink(missing_ok=True)

    def set_aside(self, version: int) -> Path:
        """Rename a damaged version so that no engine loads it and a person can inspect it."""
        aside = self.base / f".refused-{version}-{uuid.uuid4().hex[:8]}"
        self.folder(version).rename(aside)
        self._manifest_path(version).unlink(missing_ok=True)
        fsync_directory(self.base)
        return aside

    def sweep(self) -> list[str]:
        """Remove what interrupted work left behind; returns its names."""
        leftovers = [child for child in self.base.iterdir() if child.name.startswith((_STAGING, _TRASH))]
        for child in leftovers:
            remove_tree(child)
        for path in (self.base / _MANIFESTS).iterdir():
            if not path.stem.isdigit() or not self.folder(int(path.stem)).exists():
                path.unlink()
        return [child.name for child in leftovers]
