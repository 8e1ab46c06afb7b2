"""The versions on disk: `<base>/<n>/` as an engine reads them, each with its signed manifest beside it.

A folder with a number for a name is whole: it got that name by one rename, after its last byte was on the disk. The
manifest's copy under `.manifests/` lets a restart prove that again without any store: every file is hashed once more.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from orchard.errors import IntegrityError
from orchard.files import atomic_write, fsync_directory, sha256_of
from orchard.registry.manifest import Manifest, read_manifest_bytes
from orchard.signing import TrustedKeys
from serving.sync.disk import remove_tree

__all__ = ["STAGING", "VersionCache", "check_bytes"]

STAGING = ".staging-"
_MANIFESTS = ".manifests"
_LEFTOVERS = (STAGING, ".trash-")


def check_bytes(folder: Path, manifest: Manifest) -> None:
    """Prove that a folder holds exactly a manifest's files, byte for byte.

    Raises:
        IntegrityError: a file is missing, surplus, a link, or not what the manifest says.
    """
    found: set[str] = set()
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent) / name for name in (*folders, *names)):
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise IntegrityError(f"{path} is a link or a special file")
        found.update((Path(parent) / name).relative_to(folder).as_posix() for name in names)
    wanted = {file.path: file for file in manifest.files}
    if found != set(wanted):
        odd = sorted(found ^ set(wanted))
        raise IntegrityError(f"{folder} does not hold exactly the manifest's files: {', '.join(odd[:4])}")
    for name, file in wanted.items():
        if sha256_of(folder / name) != file.sha256:
            raise IntegrityError(f"{folder / name} is not what the manifest says: another SHA-256")


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
        """Where a version is, or would be."""
        return self.base / str(version)

    def versions(self) -> list[int]:
        """The versions that are there, ascending."""
        return sorted(int(child.name) for child in self.base.iterdir() if child.name.isdigit() and child.is_dir())

    def stage(self, version: int) -> Path:
        """Make an empty folder to put a version together in, on the same volume."""
        folder = self.base / f"{STAGING}{version}-{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        return folder

    def _manifest_path(self, version: int) -> Path:
        return self.base / _MANIFESTS / f"{version}.json"

    def put(self, staged: Path, manifest: Manifest, document: bytes) -> None:
        """Give a staged version its name. Whatever interrupts it, the name means all of the version or nothing.

        Args:
            staged: the folder that `stage` made, its files written and flushed.
            manifest: the version's manifest.
            document: the manifest's signed bytes.
        """
        folder = self.folder(manifest.version)
        for parent, _, _ in os.walk(staged, topdown=False):
            fsync_directory(Path(parent))
        atomic_write(self._manifest_path(manifest.version), document, fsync=True)
        if folder.exists():  # it is there and was found damaged
            remove_tree(folder)
        staged.rename(folder)
        fsync_directory(self.base)

    def manifest(self, version: int, trusted: TrustedKeys) -> Manifest:
        """Read the manifest's copy of a version that is there. Raises `IntegrityError` if it is missing or not believed."""
        path = self._manifest_path(version)
        try:
            body = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{self.folder(version)} has no manifest: {error}") from error
        return read_manifest_bytes(body, trusted, self.model, version, str(path))

    def verify(self, version: int, trusted: TrustedKeys) -> Manifest:
        """Prove a version that is there: its manifest's signature and every byte. Raises `IntegrityError`."""
        manifest = self.manifest(version, trusted)
        check_bytes(self.folder(version), manifest)
        return manifest

    def remove(self, version: int) -> None:
        """Remove a version."""
        if self.folder(version).exists():
            remove_tree(self.folder(version))
        self._manifest_path(version).unlink(missing_ok=True)

    def set_aside(self, version: int) -> Path:
        """Take a version that is not what it should be out of the engine's sight, for a person to look at."""
        aside = self.base / f".refused-{version}-{uuid.uuid4().hex[:8]}"
        self.folder(version).rename(aside)
        self._manifest_path(version).unlink(missing_ok=True)
        fsync_directory(self.base)
        return aside

    def sweep(self) -> list[str]:
        """Remove what interrupted work left behind; returns its names."""
        found = [child for child in self.base.iterdir() if child.name.startswith(_LEFTOVERS)]
        for child in found:
            remove_tree(child)
        for path in (self.base / _MANIFESTS).iterdir():
            if not path.stem.isdigit() or not self.folder(int(path.stem)).exists():
                path.unlink()
        return [child.name for child in found]
