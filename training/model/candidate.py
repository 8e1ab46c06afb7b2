"""The output of training: the exported model, with the data and parameters that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import documents
from orchard.errors import DataError, IntegrityError
from orchard.registry.blobs import read_files
from orchard.registry.manifest import ManifestFile

__all__ = ["CURVES", "KERAS_MODEL", "SAVED_MODEL", "TRAINING", "Candidate", "files_digest", "read_candidate"]

SAVED_MODEL = "saved_model"
TRAINING = "training.json"
CURVES = "curves.csv"
KERAS_MODEL = "model.keras"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained and exported model, not evaluated yet.

    Attributes:
        folder: its folder.
        files: of its SavedModel.
        digest: SHA-256 (hex) of these files; see `files_digest`.
        dataset_name: the dataset that it learned from.
        dataset_digest: that dataset's digest.
        params_digest: SHA-256 of the parameters.
        classes: every class, sorted.
        training: the document ``training.json``.
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
        """Size of the SavedModel's files, bytes."""
        return sum(file.size for file in self.files)


def files_digest(files: tuple[ManifestFile, ...]) -> str:
    """The SHA-256 of the paths, sizes and hashes of a SavedModel's files; it identifies a model from step to step."""
    return documents.digest(sorted([file.path, file.size, file.sha256] for file in files))


def read_candidate(folder: Path) -> Candidate:
    """Read the output of training.

    Raises:
        DataError: there is no candidate.
        IntegrityError: its ``training.json`` is invalid.
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
