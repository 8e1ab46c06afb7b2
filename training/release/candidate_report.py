"""The report of a version that a candidate becomes: see `orchard.registry.version_report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchard.documents import FORMAT, MAX_BYTES, canonical_json, encode
from orchard.registry.manifest import Manifest
from orchard.registry.version_report import GateReport, SliceReport, VersionReport
from training.evaluation.scores import ALL
from training.model.candidate import Candidate

__all__ = ["list_confused", "make_report"]

BOUNDS = ((2000, 200), (200, 50), (0, 20))
"""Pairs of classes of each source, and sentences, that a report has, from the first bounds with which it is small enough."""

LETTERS = 500
"""The longest sentence."""

_MEASURED = ("accuracy", "top3", "macro_f1", "unsure", "sure_accuracy")
_ROOM = 4096
"""What the signature and the names around the payload need at most, in bytes."""


def make_report(
    candidate: Candidate,
    evaluation: Mapping[str, Any],
    verdict: Mapping[str, Any],
    verdict_sha256: str,
    manifest: Manifest,
) -> VersionReport:
    """Make the report.

    Args:
        candidate: the model.
        evaluation: the document ``evaluation.json``.
        verdict: the document ``verdict.json``.
        verdict_sha256: SHA-256 of its bytes; the verdict counts only if the manifest names the same.
        manifest: of the version that the candidate has become.

    Returns:
        The report; signed, it has at most `orchard.documents.MAX_BYTES` bytes, unless the classes alone have more.
    """
    data = evaluation.get("data") or {}
    for pairs, sentences in BOUNDS:
        report = VersionReport(
            FORMAT,
            manifest.model,
            manifest.version,
            manifest.document_sha256,
            dict(candidate.training.get("params") or {}),
            data.get("test_photos"),
            data.get("sources"),
            {name: _slice(evaluation, name, pairs) for name in _named(evaluation)},
            _gate(verdict, sentences) if verdict_sha256 == manifest.gate.sha256 else None,
        )
        if len(canonical_json(encode(report))) + _ROOM <= MAX_BYTES:
            break
    return report


def _named(evaluation: Mapping[str, Any]) -> list[str]:
    return [name for name, part in evaluation["slices"].items() if name != ALL and part["n"]]


def _slice(evaluation: Mapping[str, Any], name: str, pairs: int) -> SliceReport:
    part = evaluation["figures"][name]
    confused = list(list_confused(evaluation, name))
    return SliceReport(
        part["n"],
        {key: part[key] for key in _MEASURED if part.get(key)},
        {
            label: (item["n"], item["correct"], item["predicted"])
            for label, item in part["classes"].items()
            if item["n"] or item["predicted"]
        },
        tuple(confused[:pairs]),
        max(0, len(confused) - pairs),
    )


def list_confused(evaluation: Mapping[str, Any], name: str) -> Iterator[tuple[str, str, int]]:
    """Truth, prediction and photos of the pairs of classes that are confused, the most frequent first."""
    labels, table = evaluation["confusion"]["labels"], evaluation["confusion"]["pairs"][name]
    pairs = [(-n, labels[row], labels[column]) for row, column, n in table if row != column]
    for minus, truth, guess in sorted(pairs):
        yield truth, guess, -minus


def _gate(verdict: Mapping[str, Any], most: int) -> GateReport:
    checks = [check for check in verdict.get("checks", ()) if check.get("passed") is not None]
    failed = [str(check["sentence"]) for check in checks if not check["passed"]]
    warnings = [str(sentence) for sentence in verdict.get("warnings", ())]
    compared = str((verdict.get("comparison") or {}).get("sentence", ""))
    first, second = ([sentence[:LETTERS] for sentence in part[:most]] for part in (failed, warnings))
    return GateReport(len(checks), tuple(first), tuple(second), compared[:LETTERS])
