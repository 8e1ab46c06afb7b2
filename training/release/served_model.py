"""What the channel serves today, judged on the same photos as the candidate."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchard import documents
from orchard.errors import DataError
from orchard.registry import pointers, registry
from orchard.registry.blobs import receive
from orchard.registry.manifest import Manifest
from orchard.settings import Settings
from orchard.signing import TrustedKeys, load_trusted
from orchard.store import ObjectStore, open_store
from training.data.shards import read_index
from training.evaluation.evaluate import Teller
from training.evaluation.manifest_metrics import recall
from training.evaluation.score_model import ask
from training.evaluation.scores import score
from training.evaluation.test_photos import read_test_photos
from training.model.candidate import files_digest
from training.model.savedmodel_session import open_model

__all__ = ["ServedChannel", "ServedModel", "download", "judge_served", "open_channel"]


@dataclass(frozen=True, slots=True)
class ServedChannel:
    """A channel of a model in a store, and the keys that are believed there."""

    store: ObjectStore
    model: str
    name: str
    trusted: TrustedKeys


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The version that a channel means.

    Attributes:
        version: its number.
        evaluation: as `orchard.gate.decide` reads it.
        how: ``recorded`` with its publication on the same photos, or ``measured`` just now.
    """

    version: int
    evaluation: Mapping[str, Any]
    how: Literal["recorded", "measured"]


def open_channel(settings: Settings) -> ServedChannel | None:
    """The channel that the settings mean; None where no store is set.

    Raises:
        SettingsError: a store is set, and no key that is trusted in it.
    """
    if settings.store_url is None:
        return None
    settings.require("trusted_keys_file")
    trusted = load_trusted(settings.trusted_keys_file)  # type: ignore[arg-type]  # required the line before
    return ServedChannel(open_store(settings), settings.model, settings.channel, trusted)


def download(channel: ServedChannel, manifest: Manifest, folder: Path) -> None:
    """Bring a version's files into a folder, each held against its size and SHA-256.

    Args:
        channel: where it is.
        manifest: the version's, verified: its paths stay inside the folder.
        folder: where to; only a call that returns has filled it.

    Raises:
        IntegrityError: a file is missing in the store, or is not what was published.
    """
    for file in manifest.files:
        receive(channel.store, channel.model, file, folder / file.path)


def judge_served(channel: ServedChannel, data: Path, dataset: Mapping[str, str], tell: Teller) -> ServedModel | None:
    """Judge the version that a channel means on a dataset's test photos.

    What its manifest recorded counts if it was judged on this very dataset; otherwise its files are downloaded and asked.

    Args:
        channel: the channel.
        data: the dataset's folder.
        dataset: its ``name`` and ``digest``.
        tell: says what goes on.

    Returns:
        None if nothing was ever promoted to the channel.

    Raises:
        DataError: the folder holds another dataset.
        IntegrityError: pointer, manifest or a file is not what was signed.
        StoreError: the store did not answer.
    """
    pointer = pointers.read(channel.store, channel.model, channel.name, channel.trusted)
    if pointer is None:
        return None
    manifest = registry.read_manifest(
        channel.store, channel.model, pointer.version, channel.trusted, sha256=pointer.manifest_sha256
    )
    recorded = recall(manifest, dataset["digest"])
    if recorded is not None:
        return ServedModel(manifest.version, recorded, "recorded")
    with tell.status(f"asking version {manifest.version}, which {channel.name} means, about the same photos"):
        slices = _measure(channel, manifest, data, dataset["digest"])
    evaluation = {
        "format": documents.FORMAT,
        "dataset": dict(dataset),
        "model": {"sha256": files_digest(manifest.files)},
        "slices": slices,
    }
    return ServedModel(manifest.version, evaluation, "measured")


def _measure(channel: ServedChannel, manifest: Manifest, data: Path, digest: str) -> dict[str, Any]:
    index = read_index(data)
    if index.digest != digest:
        raise DataError(
            f"{data} is not what the candidate was judged on: its digest is {index.digest[:12]}, not {digest[:12]}",
            hint="`orchard evaluate` judges the candidate on what is there, `orchard pull` brings a version back",
        )
    photos = read_test_photos(data)
    with tempfile.TemporaryDirectory(prefix="orchard-incumbent-") as temporary:
        folder = Path(temporary) / "saved_model"
        download(channel, manifest, folder)
        with open_model(folder) as session:
            return score(ask(session, photos), index.classes)
