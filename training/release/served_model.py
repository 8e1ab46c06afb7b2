"""The version that a channel serves, evaluated on the same photos as the candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchard import documents
from orchard.disk import temporary_folder
from orchard.errors import DataError
from orchard.registry.channels import Channel
from orchard.registry.manifest import Manifest
from orchard.reporter import Reporter
from training.data.shards import read_index
from training.evaluation.manifest_metrics import restore_evaluation
from training.evaluation.score_model import predict_photos
from training.evaluation.scores import score
from training.evaluation.test_photos import read_test_photos
from training.model.candidate import files_digest
from training.model.savedmodel_session import open_model

__all__ = ["ServedModel", "evaluate_served"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The version that a channel points to.

    Attributes:
        version: its number.
        evaluation: as `orchard.gate.decide` reads it.
        how: ``recorded`` in its manifest for the same photos, or ``measured`` now.
    """

    version: int
    evaluation: Mapping[str, Any]
    how: Literal["recorded", "measured"]


def evaluate_served(channel: Channel, data: Path, dataset: Mapping[str, str], reporter: Reporter) -> ServedModel | None:
    """Evaluate the version that a channel points to on a dataset's test photos.

    If its manifest has the figures for this dataset, those count. Otherwise its files are downloaded and predict the photos.

    Args:
        channel: the channel.
        data: the dataset's folder.
        dataset: its ``name`` and ``digest``.
        reporter: reports progress.

    Returns:
        None if nothing was ever promoted to the channel.

    Raises:
        DataError: the folder has another dataset.
        IntegrityError: pointer, manifest or a file is not what was signed.
        StoreError: the store did not answer.
    """
    pointer = channel.read()
    if pointer is None:
        return None
    manifest = channel.registry.manifest(pointer.version, pointer.manifest_sha256)
    recorded = restore_evaluation(manifest, dataset["digest"])
    if recorded is not None:
        return ServedModel(manifest.version, recorded, "recorded")
    with reporter.status(f"predicting the same photos with version {manifest.version} on {channel.name}"):
        slices = _measure(channel, manifest, data, dataset["digest"])
    evaluation = {
        "format": documents.FORMAT,
        "dataset": dict(dataset),
        "model": {"sha256": files_digest(manifest.files)},
        "slices": slices,
    }
    return ServedModel(manifest.version, evaluation, "measured")


def _measure(channel: Channel, manifest: Manifest, data: Path, digest: str) -> dict[str, Any]:
    index = read_index(data)
    if index.digest != digest:
        raise DataError(
            f"{data} is not the dataset that the candidate was evaluated on: its digest is {index.digest[:12]}, not {digest[:12]}",
            hint="`orchard evaluate` evaluates the candidate on this dataset; `orchard pull` fetches another version",
        )
    photos = read_test_photos(data)
    with temporary_folder("orchard-served-") as temporary:
        folder = temporary / "saved_model"
        channel.registry.download(manifest, folder)
        with open_model(folder) as session:
            return score(predict_photos(session, photos), index.classes)
