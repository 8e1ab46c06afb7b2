"""The metrics of an evaluation in a manifest: enough to compare a later candidate by class without predicting again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchard import documents, gate
from orchard.registry.manifest import Manifest
from orchard.registry.version_figures import CLASS, count_classes
from training.evaluation.scores import ALL, summarize
from training.model.candidate import files_digest

__all__ = ["CLASS", "collect_metrics", "restore_evaluation"]


def collect_metrics(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of an ``evaluation.json`` for a manifest.

    Returns:
        The gate's summary, ``<slice>.macro_f1`` and ``<slice>.top3``, ``ece``, ``size_bytes``, and ``<slice>.class.<label>.n``
        and ``….correct`` of every source and class, n = 0 included.
    """
    figures = {**gate.summary(document), "size_bytes": document["size_bytes"]}
    for name, part in document.get("figures", {}).items():
        figures |= {f"{name}.{key}": part[key]["value"] for key in ("macro_f1", "top3") if part[key]}
    if document["calibration"]["ece"] is not None:
        figures["ece"] = document["calibration"]["ece"]
    for name, part in document["slices"].items():
        if name != ALL:
            for label, count in part["classes"].items():
                figures[f"{name}{CLASS}{label}.n"] = count["n"]
                figures[f"{name}{CLASS}{label}.correct"] = count["correct"]
    return figures


def restore_evaluation(manifest: Manifest, dataset_digest: str) -> dict[str, Any] | None:
    """Restore the evaluation that a version was published with.

    Args:
        manifest: the version's, verified.
        dataset_digest: of the dataset to compare on; it identifies the test photos too.

    Returns:
        ``format``, ``dataset``, ``model`` and ``slices`` as `orchard.gate.decide` reads them; None if the version was
        evaluated on other photos or its manifest has no counts.
    """
    if manifest.dataset.digest != dataset_digest:
        return None
    slices = count_classes(manifest.metrics)
    counts = [count for part in slices.values() for count in part.values()]
    if not slices or any(not 0 <= right <= n for n, right in counts):
        return None
    labels = sorted({label for part in slices.values() for label in part})
    slices[ALL] = {
        label: (
            sum(part.get(label, (0, 0))[0] for part in slices.values()),
            sum(part.get(label, (0, 0))[1] for part in slices.values()),
        )
        for label in labels
    }
    return {
        "format": documents.FORMAT,
        "dataset": {"name": manifest.dataset.name, "digest": manifest.dataset.digest},
        "model": {"sha256": files_digest(manifest.files)},
        "slices": {name: summarize(part) for name, part in slices.items()},
    }
