"""Which version of the store a dataset folder holds, for pages: ``.orchard/datasets/<name>.json``.

`orchard ingest` and `orchard pull` write it. A page is also made where no store can be asked, so it reads this file, and
names the version only if the digest is that of the data at hand.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from orchard import documents
from orchard.errors import IntegrityError
from orchard.files import atomic_write
from training.data.dvc_project import project_of

__all__ = ["describe_dataset", "remember_version"]


@documents.strict_dataclass
class _Published:
    format: int
    version: int
    digest: str


def _path(folder: Path) -> Path:
    return project_of(folder) / ".orchard" / "datasets" / f"{folder.name}.json"


def remember_version(folder: Path, version: int, digest: str) -> None:
    """Write which version a dataset folder holds. A disk that fails loses no more than the number on a page."""
    path = _path(folder)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(documents.encode(_Published(documents.FORMAT, version, digest))) + "\n")


def describe_dataset(folder: Path, digest: str) -> str:
    """Return a dataset's name, its version if it is known here, and the start of its digest: ``fruits 3 (0123456789ab)``."""
    known = None
    with suppress(OSError, IntegrityError):
        path = _path(folder)
        known = documents.decode(_Published, documents.parse(path.read_bytes(), str(path)), str(path))
    name = f"{folder.name} {known.version}" if known and known.digest == digest else folder.name
    return f"{name} ({digest[:12]})"
