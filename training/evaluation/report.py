"""The report of an evaluation: a document for programs, metrics and a table for DVC, a page for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchard import documents, gate
from orchard.errors import DataError, IntegrityError
from orchard.files import atomic_write
from training import pages
from training.evaluation.charts import DRAWN_CLASSES, calibration_bars, draw_curves, heat_map
from training.evaluation.looks import look_sentence
from training.evaluation.manifest_metrics import CLASS, collect_metrics
from training.evaluation.scores import ALL, ScoredPhoto
from training.evaluation.test_photos import TestPhoto
from training.model.candidate import CURVES, Candidate

__all__ = [
    "EVALUATION",
    "LIMIT",
    "PAGE",
    "flatten",
    "flatten_params",
    "read_evaluation",
    "read_pictures",
    "worst_first",
    "write_report",
]

EVALUATION = "evaluation.json"
METRICS = "metrics.json"
PICTURED = "pictures.json"
CONFUSION = "confusion.csv"
PAGE = "page.html"

PICTURES = 24
"""Misses per source on the page and in ``pictures.json``; the document lists more."""

THUMBNAIL = 128
LIMIT = 32 << 20  # bytes of an evaluation: figures of each class in each source, and 250 misses of each source


def flatten(document: Mapping[str, Any]) -> dict[str, float]:
    """Flatten the metrics of an ``evaluation.json``, as `dvc metrics` shows them.

    Returns:
        The summary of `orchard.gate.summary` (photos, accuracy, worst class, by slice), ``<slice>.macro_f1``,
        ``<slice>.top3``, ``ece``, ``size_bytes`` and ``baseline.<slice>.accuracy``. No latency: it differs from run to run.
    """
    figures = {name: value for name, value in collect_metrics(document).items() if CLASS not in name}
    baseline = gate.summary(document["baseline"] or {})
    figures |= {f"baseline.{name}": value for name, value in baseline.items() if name.endswith(".accuracy")}
    return figures


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Read an ``evaluation.json``.

    Raises:
        DataError: there is none.
        IntegrityError: it is invalid.
    """
    path = folder / EVALUATION
    try:
        document = documents.parse(path.read_bytes(), str(path), limit=LIMIT)
    except OSError as error:
        raise DataError(f"no evaluation: {error.strerror}: {path}", hint="`orchard evaluate` makes one") from error
    try:
        texts = (document["dataset"]["name"], document["dataset"]["digest"], document["model"]["sha256"])
        if document["format"] != documents.FORMAT or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"format {document['format']!r}")
        flatten(document)
        if not all(isinstance(document[name], dict) for name in ("figures", "looks")):
            raise TypeError("figures and looks are not objects")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(
            f"{path} is not an evaluation ({type(error).__name__}: {error})", hint="`orchard evaluate` makes a new one"
        ) from error
    return document


def read_pictures(folder: Path) -> list[dict[str, Any]]:
    """Read the misses that ``pictures.json`` shows, by source; empty if there is no such file.

    Raises:
        IntegrityError: it is invalid.
    """
    path = folder / PICTURED
    if not path.exists():
        return []
    document = documents.parse(path.read_bytes(), str(path), limit=LIMIT)
    galleries = document.get("sources")
    if not isinstance(galleries, list):
        raise IntegrityError(f"{path} has no list of sources", hint="`orchard evaluate` makes a new one")
    return galleries


def _confusion_csv(answers: Sequence[ScoredPhoto]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["actual", "predicted"])
    table.writerows([answer.label, answer.guess] for answer in answers)
    return text.getvalue()


def write_report(
    folder: Path,
    document: Mapping[str, Any],
    answers: Sequence[ScoredPhoto],
    photos: Sequence[TestPhoto],
    candidate: Candidate,
    dataset: str = "",
) -> None:
    """Write the five files of an evaluation; ``evaluation.json`` last, so that it never exists without the others.

    Args:
        folder: where to write.
        document: the evaluation.
        answers: one for each photo.
        photos: the photos, for pictures of the misses.
        candidate: the evaluated candidate.
        dataset: the dataset and its version, for the page's last lines; empty: they name none.
    """
    page = _page(document, answers, photos, candidate)
    own = "artifacts/evaluation/page.html"
    pages.write(folder / PAGE, "evaluation.html", own=own, made=pages.made_now(dataset), **page)  # first: it can fail
    pictured = {"format": documents.FORMAT, "sources": page["galleries"]}
    atomic_write(folder / PICTURED, json.dumps(pictured, ensure_ascii=False, allow_nan=False) + "\n")
    atomic_write(folder / CONFUSION, _confusion_csv(answers))
    atomic_write(folder / METRICS, json.dumps(flatten(document), indent=2) + "\n")
    atomic_write(folder / EVALUATION, json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def _page(
    document: Mapping[str, Any], answers: Sequence[ScoredPhoto], photos: Sequence[TestPhoto], candidate: Candidate
) -> dict[str, Any]:
    slices = document["slices"]
    named = [name for name, part in slices.items() if name != ALL and part["n"]]
    confusion = document["confusion"]
    simple = (document["baseline"] or {}).get("slices", {})
    beaten = [name for name in named if simple and simple[name]["correct"] > slices[name]["correct"]]
    return {
        "state": "warn" if beaten else "plain",
        "beaten": beaten,
        "evaluation": document,
        "slices": slices,
        "named": named,
        "classes": _class_rows(slices, named),
        "figures": document["figures"],
        "ranked": {name: worst_first(document["figures"][name]["classes"]) for name in named},
        "looks": look_sentence(document["looks"]),
        "warnings": list(gate.find_warnings(document)),
        "maps": [(name, heat_map(confusion["labels"], confusion["pairs"][name])) for name in named],
        "drawn_classes": DRAWN_CLASSES,
        "panels": draw_curves(candidate.folder / CURVES),
        "calibration": calibration_bars(document["calibration"]["bins"]),
        "galleries": _galleries(answers, named, photos),
        "facts": _facts(document, candidate),
        "params": flatten_params(candidate.training.get("params")),
        "candidate": candidate,
    }


def _class_rows(slices: Mapping[str, Any], named: Sequence[str]) -> list[dict[str, Any]]:
    """A row per class with its accuracy in every slice; the worst of the first slice first, classes without photos last."""
    rows = []
    for label in slices[ALL]["classes"]:
        parts = [slices[name]["classes"][label] for name in named]
        shares = [part["correct"] / part["n"] if part["n"] else None for part in parts]
        cells = [{**part, "share": share} for part, share in zip(parts, shares, strict=True)]
        rows.append({"label": label, "cells": cells})
    return sorted(
        rows,
        key=lambda row: [(c["share"] is None, 2.0 if c["share"] is None else c["share"]) for c in row["cells"]],
    )


def worst_first(classes: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the classes that have photos or that photos are taken for, with their figures; the lowest F1 first."""
    rows = [(label, item) for label, item in classes.items() if item["n"] or item["predicted"]]
    return sorted(rows, key=lambda row: (row[1]["f1"]["value"] if row[1]["f1"] else 2.0, -row[1]["n"], row[0]))


def _galleries(
    answers: Sequence[ScoredPhoto], named: Sequence[str], photos: Sequence[TestPhoto]
) -> list[dict[str, Any]]:
    """The misses to show, by source: of each pair of truth and guess the most confident, the most frequent pair first."""
    images = {photo.sha256: photo.image for photo in photos}
    galleries = []
    for name in named:
        wrong = [answer for answer in answers if answer.source == name and not answer.correct]
        pairs: dict[tuple[str, str], list[ScoredPhoto]] = {}
        for answer in sorted(wrong, key=lambda answer: (-answer.probability, answer.sha256)):
            pairs.setdefault((answer.label, answer.guess), []).append(answer)
        ranked = sorted(
            (
                (rank, -len(pair), -answer.probability, answer.sha256, answer)
                for pair in pairs.values()
                for rank, answer in enumerate(pair)
            ),
        )
        shown = [
            {
                "answer": asdict(answer),
                "like": -minus if rank == 0 else 0,
                "picture": pages.thumbnail(images[answer.sha256], THUMBNAIL),
            }
            for rank, minus, _, _, answer in ranked[:PICTURES]
        ]
        galleries.append({"name": name, "total": len(wrong), "pairs": len(pairs), "shown": shown})
    return galleries


def _facts(document: Mapping[str, Any], candidate: Candidate) -> list[tuple[str, str]]:
    training, latency = candidate.training, document["latency_ms"]
    formats: dict[str, tuple[str, Callable[[Any], str]]] = {
        "parameters": ("weights", pages.count),
        "epochs_run": ("epochs run", str),
        "best_epoch": ("best epoch", str),
        "seconds": ("training time", lambda seconds: f"{seconds:.0f} s"),
    }
    known = [
        (name, format_value(training[key]))
        for key, (name, format_value) in formats.items()
        if training.get(key) is not None
    ]
    versions = training.get("versions")
    seed = dict(flatten_params(training.get("params"))).get("train.seed")
    return [
        ("dataset", document["dataset"]["name"]),
        ("its digest", candidate.dataset_digest),
        ("SavedModel", f"{pages.size(candidate.size)} in {len(candidate.files)} files"),
        ("its digest", candidate.digest),
        ("one photo", f"{latency['p50']:.1f} ms median, {latency['p99']:.1f} ms at p99, on one thread"),
        *known,
        *([("seed", str(seed))] if seed is not None else []),
        ("params.yaml's digest", candidate.params_digest),
        *([("made with", ", ".join(f"{k} {v}" for k, v in versions.items()))] if isinstance(versions, dict) else []),
    ]


def flatten_params(params: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return the values of nested mappings as texts, by their names with dots; empty if there are none."""
    if not isinstance(params, dict):
        return [(prefix, str(params))] if prefix else []
    return [
        row for key, value in params.items() for row in flatten_params(value, f"{prefix}.{key}" if prefix else str(key))
    ]
