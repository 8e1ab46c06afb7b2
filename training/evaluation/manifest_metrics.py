"""What a manifest remembers of an evaluation: enough to compare a later candidate class by class without asking again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchard import documents, gate
from orchard.registry.manifest import Manifest
from training.evaluation.scores import ALL, sum_up
from training.model.candidate import files_digest

__all__ = ["CLASS", "recall", "record"]

CLASS = ".class."


def record(document: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an evaluation for a manifest: the gate's summary, ``ece``, ``size_bytes``, and counts by class.

    Args:
        document: an ``evaluation.json``.

    Returns:
        Beside the summary ``<slice>.class.<label>.n`` and ``….correct`` of every source and class, n = 0 included.
    """
    figures = {**gate.summary(document), "size_bytes": document["size_bytes"]}
    if document["calibration"]["ece"] is not None:
        figures["ece"] = document["calibration"]["ece"]
    for name, part in document["slices"].items():
        if name != ALL:
            for label, count in part["classes"].items():
                figures[f"{name}{CLASS}{label}.n"] = count["n"]
                figures[f"{name}{CLASS}{label}.correct"] = count["correct"]
    return figures


def recall(manifest: Manifest, dataset_digest: str) -> dict[str, Any] | None:
    """Make the evaluation again that a version was published with.

    Args:
        manifest: the version's, verified.
        dataset_digest: the dataset that is asked about; it fixes the test photos too.

    Returns:
        ``format``, ``dataset``, ``model`` and ``slices`` as `orchard.gate.decide` reads them; None if the version was
        judged on other photos or its manifest does not keep the counts.
    """
    if manifest.dataset.digest != dataset_digest:
        return None
    slices: dict[str, dict[str, tuple[int, int]]] = {}
    for key, n in manifest.metrics.items():
        name, found, rest = key.partition(CLASS)
        label, dot, last = rest.rpartition(".")
        if found and dot and last == "n":
            right = manifest.metrics.get(f"{name}{CLASS}{label}.correct", -1)
            slices.setdefault(name, {})[label] = (int(n), int(right))
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
        "slices": {name: sum_up(part) for name, part in slices.items()},
    }
