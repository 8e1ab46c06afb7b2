"""The evaluation of a candidate on the dataset's test photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from orchard import documents
from orchard.errors import DataError, IntegrityError
from orchard.reporter import Reporter
from training.data.published_version import describe_dataset
from training.data.schema import SCHEMA, DataCard, load
from training.data.shards import Index, read_columns, read_index
from training.evaluation.baseline import evaluate_baseline
from training.evaluation.looks import describe_looks, record_look
from training.evaluation.report import write_report
from training.evaluation.score_model import evaluate_answers, measure_latency, predict_photos
from training.evaluation.scores import ScoredPhoto
from training.evaluation.test_photos import TestPhoto, read_test_photos
from training.model.candidate import Candidate, read_candidate
from training.model.savedmodel_session import open_model
from training.params import EvaluateParams
from training.workspace import Workspace

__all__ = ["evaluate"]


def _find_dataset(candidate: Candidate, workspace: Workspace) -> tuple[Path, Index]:
    """Return the folder and the index of the dataset that a candidate learned from.

    Raises:
        DataError: the dataset is missing, or the workspace has another version of it.
    """
    folder = workspace.dataset(candidate.dataset_name)
    index = read_index(folder)
    if index.digest != candidate.dataset_digest:
        raise DataError(
            f"{folder} is not what the candidate learned from: its digest is {index.digest[:12]}, "
            f"training saw {candidate.dataset_digest[:12]}",
            hint="run `orchard train` again on this dataset, or `orchard pull` the version that the candidate learned from",
        )
    if set(index.classes) != set(candidate.classes):
        raise DataError(f"{folder} has other classes than the candidate", hint="`orchard train` makes a new one")
    return folder, index


def evaluate(
    workspace: Workspace, options: EvaluateParams, reporter: Reporter, schema: Path | None = None
) -> dict[str, Any]:
    """Evaluate a candidate on every test photo of its dataset and write the report.

    Args:
        workspace: has candidate and dataset; gets the report file by file, ``evaluation.json`` last. Its record of looks
            gets this one, unless the candidate was evaluated on these photos before.
        options: whether to evaluate the baseline too.
        reporter: reports progress.
        schema: the file with the dataset's card; None: data/schema.yaml of the workspace.

    Returns:
        The document ``evaluation.json``.

    Raises:
        DataError: candidate, dataset or test photos are missing, or the dataset is another one.
        DiskError: the report or the look cannot be written.
        IntegrityError: the model cannot be loaded, fails or gives invalid outputs; a shard is damaged.
        ParamsError: the schema is invalid.
    """
    card = load(schema or workspace.root / SCHEMA).cards
    candidate = read_candidate(workspace.candidate)
    folder, index = _find_dataset(candidate, workspace)
    photos = read_test_photos(folder)
    with reporter.status(f"predicting {len(photos)} test photos"):
        answers, latency = _predict(candidate, photos)
    document: dict[str, Any] = {
        "format": documents.FORMAT,
        "dataset": {"name": candidate.dataset_name, "digest": candidate.dataset_digest},
        "model": {"sha256": candidate.digest},
        "looks": _look(workspace, candidate),
        "data": _describe_data(folder, index, photos, card.get(candidate.dataset_name)),
        **evaluate_answers(answers, index.classes),
        "size_bytes": candidate.size,
        "latency_ms": latency,
        "baseline": None,
    }
    if options.baseline:
        with reporter.status("evaluating the baseline"):
            document["baseline"] = evaluate_baseline(folder, photos, index.classes)
    described = describe_dataset(folder, candidate.dataset_digest)
    write_report(workspace.evaluation, document, answers, photos, candidate, described)
    return document


def _look(workspace: Workspace, candidate: Candidate) -> dict[str, Any]:
    """Record the look, before anybody sees its figures."""
    looks = record_look(workspace.looks, candidate.dataset_digest, candidate.digest, candidate.params_digest)
    return describe_looks(looks, candidate.digest)


def _describe_data(folder: Path, index: Index, photos: list[TestPhoto], card: DataCard | None) -> dict[str, Any]:
    """The photos of each split; by class and source; what identifies the test photos; the card if the schema has one."""
    return {
        "photos": {split: sum(counts.values()) for split, counts in index.counts.items()},
        "sources": _count_sources(folder, index),
        "test_photos": documents.digest([photo.sha256 for photo in photos]),  # they are sorted
        "card": card.model_dump(mode="json") if card else None,
    }


def _count_sources(folder: Path, index: Index) -> dict[str, dict[str, dict[str, int]]]:
    """Photos by split, class and source."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for shard in index.shards:
        table = read_columns(folder / shard.path, ("split", "label", "source"))
        counts.update(zip(*(table[name].to_pylist() for name in ("split", "label", "source")), strict=True))
    found: dict[str, dict[str, dict[str, int]]] = {split: {} for split in index.counts}
    for (split, label, source), n in sorted(counts.items()):
        found.setdefault(split, {}).setdefault(label, {})[source] = n
    return found


def _predict(candidate: Candidate, photos: list[TestPhoto]) -> tuple[list[ScoredPhoto], dict[str, float]]:
    with open_model(candidate.model) as session:
        if session.classes != candidate.classes:
            raise IntegrityError(
                f"{candidate.model} has other classes than {candidate.folder / 'training.json'}",
                hint="`orchard train` makes a new candidate",
            )
        return predict_photos(session, photos), measure_latency(session, photos)
