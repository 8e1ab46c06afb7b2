"""The figures of a version by source and class, with 95 % intervals, from its report or from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchard.estimates import Estimate, estimate_class, estimate_share
from orchard.registry.manifest import Manifest
from orchard.registry.version_report import VersionReport

__all__ = ["CLASS", "ClassFigures", "SourceFigures", "count_classes", "figures_of"]

CLASS = ".class."
"""What separates source and class in the names of a manifest's metrics: ``shop.class.Plum.n``."""

ALL = "all"


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The figures of one class of a source.

    Attributes:
        n: photos.
        correct: photos that are right.
        predicted: photos that are taken for it; None: not known, and so is precision and F1.
        figures: ``precision``, ``recall`` and ``f1``.
    """

    n: int
    correct: int
    predicted: int | None
    figures: dict[str, Estimate | None]


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The figures of one source.

    Attributes:
        n: test photos.
        figures: ``accuracy`` and what else was measured.
        classes: by class.
    """

    n: int
    figures: dict[str, Estimate | None]
    classes: dict[str, ClassFigures]


def count_classes(metrics: Mapping[str, float]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return photos and right answers by source and class, from a manifest's metrics; (n, -1): the second is missing."""
    slices: dict[str, dict[str, tuple[int, int]]] = {}
    for key, n in metrics.items():
        name, mark, rest = key.partition(CLASS)
        label, dot, last = rest.rpartition(".")
        if mark and dot and last == "n":
            right = metrics.get(f"{name}{CLASS}{label}.correct", -1)
            slices.setdefault(name, {})[label] = (int(n), int(right))
    return slices


def figures_of(manifest: Manifest, report: VersionReport | None) -> dict[str, SourceFigures]:
    """Return the figures of a version by source, sources without photos left out.

    Without a report there are accuracy and recall alone: a manifest does not count what a class is mistaken for.
    """
    if report is not None:
        return {
            name: SourceFigures(
                part.n,
                dict(part.figures),
                {label: _class_figures(*counts) for label, counts in part.classes.items()},
            )
            for name, part in report.slices.items()
        }
    counted = count_classes(manifest.metrics)
    found = {}
    for key, accuracy in manifest.metrics.items():
        name, dot, last = key.rpartition(".")
        n = int(manifest.metrics.get(f"{name}.n", 0))
        if dot and last == "accuracy" and n and (name != ALL or not counted):
            classes = {label: _class_figures(*counts, None) for label, counts in counted.get(name, {}).items()}
            found[name] = SourceFigures(n, {"accuracy": estimate_share(round(accuracy * n), n)}, classes)
    return found


def _class_figures(n: int, correct: int, predicted: int | None) -> ClassFigures:
    if correct < 0 or predicted is None:
        recall = estimate_share(correct, n) if correct >= 0 else None
        return ClassFigures(n, max(correct, 0), predicted, {"precision": None, "recall": recall, "f1": None})
    return ClassFigures(n, correct, predicted, estimate_class(n, correct, predicted))
