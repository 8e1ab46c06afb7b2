"""The model card: one page about a candidate or a version, for whoever uses the model, as HTML and as Markdown.

Everything on it is measured, recorded or stated in the dataset's card; what is not known is left out or named as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from orchard.disk import writing_to
from orchard.files import atomic_write
from orchard.gate import find_warnings
from orchard.registry.cards import MAX_CARD, ModelCard
from orchard.registry.manifest import Manifest
from training import pages
from training.evaluation.charts import calibration_bars
from training.evaluation.looks import count_known, look_sentence
from training.evaluation.report import flatten_params, worst_first
from training.evaluation.scores import ALL
from training.model.candidate import Candidate
from training.release.candidate_report import list_confused

__all__ = ["CARD", "make_card", "write_card"]

CARD = "card.html"
MARKDOWN = "card.md"

BOUNDS = ((100, 8), (30, 4), (10, 0))
"""Classes and pictures of each source that a card shows, from the first bounds with which it is small enough."""

LETTERS = 2000
"""The longest text of a value, such as a reason or a parameter."""

PAIRS = 8
"""Pairs of classes that are confused most often, of each source."""


def make_card(
    candidate: Candidate,
    evaluation: Mapping[str, Any],
    verdict: Mapping[str, Any],
    pictures: Sequence[Mapping[str, Any]],
    manifest: Manifest | None = None,
    published: Mapping[int, str] | None = None,
    made: Sequence[tuple[str, str]] = (),
) -> ModelCard:
    """Make the model card.

    Args:
        candidate: the model.
        evaluation: the document ``evaluation.json``.
        verdict: the document ``verdict.json``.
        pictures: the misses, as `read_pictures` gives them.
        manifest: of the version that the candidate has become; None: it is not published.
        published: the other versions that were evaluated on the same photos, and the digests of their models.
        made: the last lines, as `training.pages.made_now` gives them; empty: those of now.

    Returns:
        The card; its HTML has at most `MAX_CARD` bytes.
    """
    facts = _facts(candidate, evaluation, verdict, manifest, published or {})
    facts["made"] = list(made) or pages.made_now()
    for classes, shown in BOUNDS:
        part = _bounded(evaluation, facts["named"], pictures, classes, shown)
        html = pages.render("card.html", **facts, **part).encode()
        if len(html) <= MAX_CARD:
            break
    front = pages.RawMarkdown(yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True))
    return ModelCard(html, pages.render("card.md", front=front, **facts, **part).encode())


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``card.html``, with links to the workspace's other pages, and ``card.md``, each as a whole."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / MARKDOWN, card.markdown)
        atomic_write(folder / CARD, pages.link(card.html.decode(), "artifacts/card/card.html"))


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"


def _rows(value: Any) -> list[tuple[str, str]]:
    return [(_short(name), _short(text)) for name, text in flatten_params(value)]


def _facts(
    candidate: Candidate,
    evaluation: Mapping[str, Any],
    verdict: Mapping[str, Any],
    manifest: Manifest | None,
    published: Mapping[int, str],
) -> dict[str, Any]:
    training = candidate.training
    name = f"{manifest.model} {manifest.version}" if manifest else f"Candidate {candidate.digest[:12]}"
    named = [name for name, part in evaluation["slices"].items() if name != ALL and part["n"]]
    data = evaluation.get("data") or {}
    return {
        "name": name,
        "state": {"accepted": "plain", "refused": "bad"}.get(verdict["verdict"], "warn"),
        "manifest": manifest,
        "candidate": candidate,
        "evaluation": evaluation,
        "verdict": {**verdict, "reason": _short(verdict["reason"])},
        "named": named,
        "figures": evaluation["figures"],
        "warnings": list(find_warnings(evaluation))[:LETTERS],
        "photos": data.get("photos"),
        "data": data.get("card"),
        "unmeasured": _unmeasured(evaluation, named),
        "model": _model(candidate, evaluation, manifest),
        "confused": {name: list(_confused(evaluation, name)) for name in named},
        "calibration": calibration_bars(evaluation["calibration"]["bins"]),
        "looks": look_sentence(evaluation["looks"], count_known(evaluation["looks"], published.values())),
        "published": sorted(published),
        "epochs": (training.get("best_epoch"), training.get("epochs_run")),
        "params": _rows(training.get("params")),
        "cross_validation": _rows(training.get("cross_validation")),
        "unsure": _rows(training.get("unsure")),
        "weights": _rows(training.get("pretrained")),
        "teachers": [(_short(item["from"]), item["sha256"]) for item in training.get("teachers", [])],
        "origin": _origin(candidate, manifest),
    }


def _unmeasured(evaluation: Mapping[str, Any], named: Sequence[str]) -> dict[str, list[str]]:
    """The classes of each source about which no test photo says anything."""
    classes = {name: evaluation["slices"][name]["classes"] for name in named}
    return {name: [label for label, item in part.items() if not item["n"]] for name, part in classes.items()}


def _model(candidate: Candidate, evaluation: Mapping[str, Any], manifest: Manifest | None) -> list[tuple[str, str]]:
    training, latency = candidate.training, evaluation["latency_ms"]
    params = dict(flatten_params(training.get("params")))
    side = params.get("model.image_size")
    versions = training.get("versions")
    signatures = manifest.signatures if manifest else {}
    known = {
        "architecture": params.get("model.architecture"),
        "input": "a JPEG or PNG file" + (f", seen at {side} × {side} pixels" if side else ""),
        "output": f"one of {len(candidate.classes)} classes, its probability, and the probabilities of all classes",
        **{f"signature {name}": _signature(item) for name, item in signatures.items()},
        "weights": pages.count(training["parameters"]) if training.get("parameters") else None,
        "format": f"TensorFlow SavedModel, {pages.size(candidate.size)} in {len(candidate.files)} files",
        "latency": f"{latency['p50']:.1f} ms median, {latency['p99']:.1f} ms at p99: one photo on one thread of the "
        "machine that evaluated it",
        "made with": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else None,
    }
    return [(name, _short(value)) for name, value in known.items() if value]


def _signature(signature: Any) -> str:
    inputs, outputs = (
        ", ".join(f"{name}: {kind}" for name, kind in part.items()) for part in (signature.inputs, signature.outputs)
    )
    return f"{inputs} → {outputs}"


def _origin(candidate: Candidate, manifest: Manifest | None) -> list[tuple[str, str]]:
    """What identifies the model, so that the card can be checked against it."""
    known = [
        ("SavedModel", candidate.digest),
        ("dataset", candidate.dataset_digest),
        ("parameters", candidate.params_digest),
    ]
    if manifest is None:
        return known
    dataset = f"{manifest.dataset.name} {manifest.dataset.version or ''}".strip()
    return [
        ("model", f"{manifest.model} {manifest.version}"),
        ("dataset version", dataset),
        *known,
        ("verdict", manifest.gate.sha256),
        ("code", manifest.code),
        ("run", manifest.run_id or "none"),
        ("published", f"{manifest.created[:19]}Z by {manifest.created_by}"),
    ]


def _confused(evaluation: Mapping[str, Any], name: str) -> Iterator[tuple[int, str, str]]:
    """The pairs of truth and guess that are confused most often: photos, truth, guess."""
    for truth, guess, n in islice(list_confused(evaluation, name), PAIRS):
        yield n, truth, guess


def _bounded(
    evaluation: Mapping[str, Any],
    named: Sequence[str],
    pictures: Sequence[Mapping[str, Any]],
    classes: int,
    shown: int,
) -> dict[str, Any]:
    """The parts of the card whose size depends on the data."""
    ranked = {name: worst_first(evaluation["figures"][name]["classes"]) for name in named}
    return {
        "ranked": {name: rows[:classes] for name, rows in ranked.items()},
        "left_out": {name: max(0, len(rows) - classes) for name, rows in ranked.items()},
        "galleries": [{**gallery, "shown": gallery["shown"][:shown]} for gallery in pictures if gallery["total"]],
    }


def _front_matter(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata in the form of Hugging Face's model cards (``license``, ``tags``, ``model-index`` …)."""
    candidate, data = facts["candidate"], facts["data"] or {}
    return {
        "license": (data.get("model_licence") or "unknown").lower(),
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "tensorflow", "savedmodel", "orchard"],
        "datasets": [candidate.dataset_name],
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": facts["name"], "results": [_result(facts, name) for name in facts["named"]]}],
    }


def _result(facts: Mapping[str, Any], source: str) -> dict[str, Any]:
    candidate, figures = facts["candidate"], facts["figures"][source]
    kinds: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("accuracy", "accuracy", "Accuracy", {}),
        ("f1", "macro_f1", "Macro F1", {"average": "macro"}),
        ("accuracy", "top3", "Top-3 accuracy", {"top_k": 3}),
    )
    metrics = [
        {
            "type": kind,
            "name": f"{title}, 95 % interval {pages.interval_of(figures[key])}",
            "value": figures[key]["value"],
        }
        | ({"args": args} if args else {})
        for kind, key, title, args in kinds
        if figures[key]
    ]
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {
            "name": f"{candidate.dataset_name}, {source}",
            "type": candidate.dataset_name,
            "config": source,
            "split": "test",
            "revision": candidate.dataset_digest,
        },
        "metrics": metrics,
    }
