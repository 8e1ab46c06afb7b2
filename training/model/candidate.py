"""What training left behind: the exported model, and what it was made of and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import documents
from orchard.errors import DataError, IntegrityError
from orchard.registry.blobs import read_files
from orchard.registry.manifest import ManifestFile

__all__ = ["CURVES", "SAVED_MODEL", "TRAINING", "Candidate", "files_digest", "read_candidate"]

SAVED_MODEL = "saved_model"
TRAINING = "training.json"
CURVES = "curves.csv"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained and exported model that nobody has judged yet.

    Attributes:
        folder: where it lies.
        files: of its SavedModel.
        digest: SHA-256 (hex) that names exactly these files; see `files_digest`.
        dataset_name: what it learned from.
        dataset_digest: exactly that.
        params_digest: SHA-256 of the parameters.
        classes: every class, sorted.
        training: the whole document ``training.json``.
    """

    folder: Path
    files: tuple[ManifestFile, ...]
    digest: str
    dataset_name: str
    dataset_digest: str
    params_digest: str
    classes: tuple[str, ...]
    training: dict[str, Any]

    @property
    def model(self) -> Path:
        """The SavedModel's folder."""
        return self.folder / SAVED_MODEL

    @property
    def size(self) -> int:
        """Bytes of the SavedModel's files together."""
        return sum(file.size for file in self.files)


def files_digest(files: tuple[ManifestFile, ...]) -> str:
    """The SHA-256 of a SavedModel: of the paths, sizes and hashes of its files. A model carries it from step to step."""
    return documents.digest(sorted([file.path, file.size, file.sha256] for file in files))


def read_candidate(folder: Path) -> Candidate:
    """Read what training left behind.

    Raises:
        DataError: there is no candidate.
        IntegrityError: its ``training.json`` is not what training writes.
    """
    path = folder / TRAINING
    try:
        document = documents.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(
            f"no candidate in {folder}: {error.strerror}: {path}", hint="`orchard train` makes one"
        ) from error
    try:
        dataset = document["dataset"]
        texts = (dataset["name"], dataset["digest"], document["params_digest"])
        classes = tuple(document["classes"])
        if document["format"] != documents.FORMAT or not all(isinstance(text, str) for text in (*texts, *classes)):
            raise ValueError(f"format {document['format']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path} is not what training writes ({type(error).__name__}: {error})",
            hint="`orchard train` makes a new one",
        ) from error
    files = read_files(folder / SAVED_MODEL)
    return Candidate(folder, files, files_digest(files), *texts, classes, document)
