"""The gate as a step: compares the candidate's evaluation with the served version's and the thresholds.

The results are a verdict, and a page with the reasons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import documents
from orchard.errors import DataError, IntegrityError, OrchardError
from orchard.files import atomic_write
from orchard.gate import GateCheck, GateThresholds, GateVerdict, decide
from orchard.registry.channels import Channel
from orchard.registry.version_overview import read_pointers
from orchard.reporter import Reporter
from training import pages
from training.data.published_version import describe_dataset
from training.evaluation.report import LIMIT, read_evaluation, read_pictures
from training.evaluation.scores import ALL
from training.model.candidate import Candidate, read_candidate
from training.release.model_card import make_card, write_card
from training.release.served_model import ServedModel, evaluate_served
from training.workspace import Workspace

__all__ = ["PAGE", "GateResult", "check_evaluation", "gate", "read_verdict"]

VERDICT = "verdict.json"
PAGE = "page.html"


@dataclass(frozen=True, slots=True)
class GateResult:
    """The gate's verdict, and what the candidate was compared with.

    Attributes:
        verdict: the verdict.
        comparison: ``channel`` and ``version`` (None: nothing to compare with), ``how`` (``recorded``, ``measured`` or
            None) and a ``sentence`` for people.
    """

    verdict: GateVerdict
    comparison: Mapping[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """The content of ``artifacts/gate/verdict.json``."""
        return {**self.verdict.document(), "comparison": dict(self.comparison)}


def check_evaluation(candidate: Candidate, evaluation: Mapping[str, Any]) -> None:
    """Check that an evaluation is of this candidate. Raises `DataError`."""
    if evaluation["model"]["sha256"] != candidate.digest:
        raise DataError(
            f"the evaluation is of the model {evaluation['model']['sha256'][:12]}, the candidate is {candidate.digest[:12]}",
            hint="`orchard evaluate` evaluates this candidate",
        )
    if evaluation["dataset"]["digest"] != candidate.dataset_digest:
        raise DataError(
            f"the evaluation is on the dataset {evaluation['dataset']['digest'][:12]}, "
            f"the candidate learned from {candidate.dataset_digest[:12]}",
            hint="`orchard evaluate` evaluates this candidate",
        )


def gate(
    workspace: Workspace,
    thresholds: GateThresholds,
    channel: Channel | None,
    reporter: Reporter,
    *,
    override_reason: str | None = None,
) -> GateResult:
    """Decide whether a candidate may be published, and write verdict, page and model card.

    Args:
        workspace: has candidate and evaluation; gets verdict, page and card. Its dataset is read only if the served version has
            to be evaluated again.
        thresholds: what the candidate must reach.
        channel: the candidate must not be worse than its version; None: no store is set, check absolute thresholds only.
        reporter: reports progress.
        override_reason: accept a refused candidate for this written reason.

    Raises:
        DataError: candidate or evaluation is missing, they do not belong together, no threshold is set, or the reason is
            empty.
        IntegrityError: the channel's version is not what was signed and published.
        StoreError: the store did not answer; the gate never skips the comparison.
    """
    candidate = read_candidate(workspace.candidate)
    evaluation = read_evaluation(workspace.evaluation)
    check_evaluation(candidate, evaluation)
    served = None
    if channel is not None:
        served = evaluate_served(channel, workspace.dataset(candidate.dataset_name), evaluation["dataset"], reporter)
    incumbent = served.evaluation if served else None
    also = _baseline_checks(evaluation)
    verdict = decide(evaluation, incumbent, thresholds, override_reason=override_reason, also=also)
    result = GateResult(verdict, _compare(channel, served))
    made = _made(channel, workspace.dataset(candidate.dataset_name), evaluation["dataset"]["digest"])
    _write(workspace.gate, result, evaluation, incumbent, made)
    pictures = read_pictures(workspace.evaluation)
    write_card(workspace.card, make_card(candidate, evaluation, result.document, pictures, made=made))
    return result


def _made(channel: Channel | None, data: Path, digest: str) -> list[tuple[str, str]]:
    """When, by whom and on which versions the page was made."""
    pointers = ""
    with suppress(OrchardError):  # the verdict does not depend on the other channels
        if channel is not None:
            pointers = ", ".join(f"{one.channel}: version {one.version}" for one in read_pointers(channel.registry))
    return pages.made_now(describe_dataset(data, digest), pointers)


def _compare(channel: Channel | None, served: ServedModel | None) -> dict[str, Any]:
    if channel is None:
        sentence = "Compared with no version: no object store is set, so only the absolute thresholds were checked."
        return {"channel": None, "version": None, "how": None, "sentence": sentence}
    if served is None:
        sentence = f"Compared with no version: the channel {channel.name} of {channel.registry.model} has none yet."
        return {"channel": channel.name, "version": None, "how": None, "sentence": sentence}
    how = "as recorded when it was published" if served.how == "recorded" else "predicted again now"
    sentence = f"Compared with version {served.version} on {channel.name}, on the same test photos, {how}."
    return {"channel": channel.name, "version": served.version, "how": served.how, "sentence": sentence}


def _baseline_checks(evaluation: Mapping[str, Any]) -> Iterator[GateCheck]:
    """Check that the nearest-photo baseline, if it was evaluated, is not better than the candidate on any source."""
    baseline = evaluation.get("baseline") or {}
    for name, part in sorted((baseline.get("slices") or {}).items()):
        if name == ALL or not part["n"]:
            continue
        own = evaluation["slices"][name]
        passed = own["n"] == part["n"] and own["correct"] >= part["correct"]
        sentence = (
            f"A simpler model, {name}: {own['correct']} of {own['n']} right, "
            f"the {baseline['name']} has {part['correct']} right"
        )
        yield GateCheck(f"{name}.baseline", own["accuracy"], part["accuracy"], passed, sentence)


def read_verdict(folder: Path) -> tuple[dict[str, Any], str]:
    """Read a ``verdict.json``; returns it and the SHA-256 of its bytes.

    Raises:
        DataError: there is none.
        IntegrityError: it is invalid.
    """
    path = folder / VERDICT
    try:
        body = path.read_bytes()
    except OSError as error:
        raise DataError(f"no verdict: {error.strerror}: {path}", hint="`orchard gate` makes one") from error
    document = documents.parse(body, str(path), limit=LIMIT)  # thresholds for a class give a check for each
    try:
        texts = (document["verdict"], document["reason"], document["candidate"], document["dataset"]["digest"])
        if document["format"] != documents.FORMAT or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"format {document['format']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path} is not a verdict ({type(error).__name__}: {error})", hint="`orchard gate` makes a new one"
        ) from error
    return document, documents.sha256_hex(body)


def _write(
    folder: Path,
    result: GateResult,
    evaluation: Mapping[str, Any],
    incumbent: Mapping[str, Any] | None,
    made: list[tuple[str, str]],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / VERDICT
    path.unlink(missing_ok=True)  # no verdict is safer than an old one beside a new page
    facts = _page(result, evaluation, incumbent)
    pages.write(folder / PAGE, "gate.html", own="artifacts/gate/page.html", made=made, **facts)
    atomic_write(path, json.dumps(result.document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def _page(result: GateResult, evaluation: Mapping[str, Any], incumbent: Mapping[str, Any] | None) -> dict[str, Any]:
    verdict = result.verdict
    good = "warn" if verdict.warnings else "good"
    state = {"accepted": good, "refused": "bad", "overridden": "warn"}[verdict.verdict]
    passed = [check for check in verdict.checks if check.passed]
    shown = [check for check in verdict.checks if check.passed is None]
    slices = evaluation["slices"]
    then = incumbent["slices"] if incumbent else {}
    return {
        "state": state,
        "verdict": verdict,
        "comparison": result.comparison,
        "failed": verdict.failed,
        "passed": len(passed),
        "groups": [("Passed", passed), ("Shown, not checked", shown)],
        "slices": slices,
        "then": then,
        "named": [name for name, part in slices.items() if part["n"] and (name != ALL or len(slices) == 1)],
        "changes": list(_changes(slices, then)),
        "baseline": (evaluation.get("baseline") or {}).get("slices"),
    }


def _changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Classes whose correct answers differ from the served version's, by source, the largest loss first."""
    for name, part in now.items():
        if name == ALL or name not in then:
            continue
        before = then[name]["classes"]
        rows = [
            {"slice": name, "label": label, "n": item["n"], "now": item["correct"], "then": before[label]["correct"]}
            for label, item in part["classes"].items()
            if item["n"] and before.get(label, {}).get("n") == item["n"] and before[label]["correct"] != item["correct"]
        ]
        yield from sorted(rows, key=lambda row: (row["now"] - row["then"]) / row["n"])
