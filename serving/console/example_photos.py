"""Example photos for the page: the golden photos of the version that is served, which are in its SavedModel."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from orchard.errors import DataError
from orchard.golden import GOLDEN, read_golden
from orchard.registry.blobs import receive
from orchard.registry.registry import Registry

__all__ = ["MOST_EXAMPLES", "ExamplePhoto", "ExamplePhotos"]

MOST_EXAMPLES = 5
_MAX_BYTES = 32 << 20
_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"))


@dataclass(frozen=True, slots=True)
class ExamplePhoto:
    """A photo's bytes, and their media type."""

    body: bytes
    media_type: str


class ExamplePhotos:
    """Reads the examples of a version, and keeps those of the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._photos: tuple[ExamplePhoto, ...] = ()

    def read(self, registry: Registry, version: int) -> tuple[ExamplePhoto, ...]:
        """Return the photos of a version, at most `MOST_EXAMPLES`; a version without golden photos has none.

        Raises:
            DataError: there is no such version.
            IntegrityError: its manifest is not trusted, or the file is not what was published.
            StoreError: the store failed.
        """
        with self._lock:
            if self._version != version:
                self._photos = _read(registry, version)
                self._version = version
            return self._photos

    def one(self, registry: Registry, version: int, number: int) -> ExamplePhoto:
        """Return one photo of a version; see `read` for the errors."""
        photos = self.read(registry, version)
        if not 0 <= number < len(photos):
            raise DataError(f"version {version} has no example photo {number}")
        return photos[number]


def _read(registry: Registry, version: int) -> tuple[ExamplePhoto, ...]:
    files = [file for file in registry.manifest(version).files if file.path == GOLDEN and file.size <= _MAX_BYTES]
    if not files:
        return ()
    with tempfile.TemporaryDirectory(prefix="orchard-console-") as folder:
        receive(registry.store, registry.model, files[0], Path(folder) / GOLDEN)
        photos = read_golden(Path(folder)).photos
    known = [
        ExamplePhoto(photo, media_type) for photo in photos for head, media_type in _TYPES if photo.startswith(head)
    ]
    return tuple(known[:MOST_EXAMPLES])
