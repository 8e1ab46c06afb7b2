"""The evaluation of a candidate, from its files and the dataset's test photos to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchard import documents
from orchard.errors import DataError, IntegrityError
from orchard.reporter import Reporter
from training.data.shards import Index, read_index
from training.evaluation.baseline import judge_nearest
from training.evaluation.report import write_report
from training.evaluation.score_model import judge, measure_latency, predict_photos
from training.evaluation.scores import ScoredPhoto
from training.evaluation.test_photos import TestPhoto, read_test_photos
from training.model.candidate import Candidate, read_candidate
from training.model.savedmodel_session import open_model
from training.params import EvaluateParams
from training.workspace import Workspace

__all__ = ["evaluate", "read_their_dataset"]


def read_their_dataset(candidate: Candidate, workspace: Workspace) -> tuple[Path, Index]:
    """Find the dataset that a candidate learned from and make sure that it is that one.

    Args:
        candidate: the candidate.
        workspace: where its dataset lies.

    Returns:
        The dataset's folder and its index.

    Raises:
        DataError: there is none, or another version of it lies there.
    """
    folder = workspace.dataset(candidate.dataset_name)
    index = read_index(folder)
    if index.digest != candidate.dataset_digest:
        raise DataError(
            f"{folder} is not what the candidate learned from: its digest is {index.digest[:12]}, "
            f"training saw {candidate.dataset_digest[:12]}",
            hint="`orchard train` again on what is there, or `orchard pull` the version that it learned from",
        )
    if set(index.classes) != set(candidate.classes):
        raise DataError(f"{folder} has other classes than the candidate", hint="`orchard train` makes a new one")
    return folder, index


def evaluate(workspace: Workspace, options: EvaluateParams, reporter: Reporter) -> dict[str, Any]:
    """Judge a candidate on every test photo of its dataset and write the report.

    Args:
        workspace: where candidate and dataset lie; the report goes there file by file, its document last.
        options: what to do beside.
        reporter: reports progress.

    Returns:
        The document ``evaluation.json``.

    Raises:
        DataError: no candidate, no dataset, another dataset, or no test photos.
        IntegrityError: the candidate's model cannot be loaded, fails or answers nonsense; a shard is damaged.
    """
    candidate = read_candidate(workspace.candidate)
    folder, index = read_their_dataset(candidate, workspace)
    photos = read_test_photos(folder)
    with reporter.status(f"asking the model about {len(photos)} test photos"):
        answers, latency = _question(candidate, photos)
    document: dict[str, Any] = {
        "format": documents.FORMAT,
        "dataset": {"name": candidate.dataset_name, "digest": candidate.dataset_digest},
        "model": {"sha256": candidate.digest},
        **judge(answers, index.classes),
        "size_bytes": candidate.size,
        "latency_ms": latency,
        "baseline": None,
    }
    if options.baseline:
        with reporter.status("asking the nearest training photo instead"):
            document["baseline"] = judge_nearest(folder, photos, index.classes)
    write_report(workspace.evaluation, document, answers, photos, candidate)
    return document


def _question(candidate: Candidate, photos: list[TestPhoto]) -> tuple[list[ScoredPhoto], dict[str, float]]:
    with open_model(candidate.model) as session:
        if session.classes != candidate.classes:
            raise IntegrityError(
                f"{candidate.model} names other classes than {candidate.folder / 'training.json'}",
                hint="`orchard train` makes a new candidate",
            )
        return predict_photos(session, photos), measure_latency(session, photos)
