"""What changed between two versions: data, parameters, figures, confused classes, code and size.

Changes of figures are judged as the gate judges them: only on the same test photos, and by `orchard.intervals.judge_change`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchard.dataset import Dataset
from orchard.documents import canonical_json
from orchard.errors import DataError, IntegrityError
from orchard.estimates import Estimate, judge_estimates, loss_of
from orchard.intervals import Change
from orchard.registry.manifest import DatasetRef, Manifest
from orchard.registry.version_figures import ClassFigures, SourceFigures, figures_of
from orchard.registry.version_report import VersionReport, read_report
from orchard.registry.versions import ModelVersions

__all__ = [
    "ClassChange",
    "ConfusionChange",
    "FigureChange",
    "ParamChange",
    "PhotoChange",
    "VersionDiff",
    "compare_params",
    "compare_versions",
]

Counts = dict[tuple[str, str, str | None], int]


@dataclass(frozen=True, slots=True)
class ParamChange:
    """A parameter that differs: its name with dots, and its value in both versions; None: it has none there."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class PhotoChange:
    """Photos of a split, class and source in both datasets; `source` is None if only classes are known."""

    split: str
    label: str
    source: str | None
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A figure in both versions.

    Attributes:
        source: the source of the photos.
        name: ``accuracy``, ``macro_f1``, …
        before: the figure of the first version, None: it has none.
        after: of the second.
        loss: the 95 % interval of ``before - after``; None: one is missing.
        judgement: None: they are of other test photos, or one is missing.
    """

    source: str
    name: str
    before: Estimate | None
    after: Estimate | None
    loss: tuple[float, float] | None
    judgement: Change | None

    @property
    def difference(self) -> float | None:
        """``after - before``."""
        return self.after["value"] - self.before["value"] if self.before and self.after else None


@dataclass(frozen=True, slots=True)
class ClassChange:
    """A class of a source whose right answers or F1 differ.

    Attributes:
        source: the source.
        label: the class.
        before: its figures in the first version, None: it has none.
        after: in the second.
        recall: the change of the share of its photos that are right.
        f1: the change of its F1 score.
    """

    source: str
    label: str
    before: ClassFigures | None
    after: ClassFigures | None
    recall: FigureChange
    f1: FigureChange


@dataclass(frozen=True, slots=True)
class ConfusionChange:
    """A pair of classes that only one of the versions confuses: photos of `label` that are taken for `guess`."""

    source: str
    label: str
    guess: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """What changed from one version to another.

    Attributes:
        before: the first version's manifest.
        after: the second's.
        same_photos: both were measured on the same test photos; None: it is not known.
        params: None: a version has no report, so only the digests are known.
        photos: the counts that differ; None: the store lacks one of the two catalogues.
        figures: by source and figure.
        classes: those that differ, the largest change first.
        confusion: the pairs that appeared or vanished, the most frequent first; None: not known.
    """

    before: Manifest
    after: Manifest
    same_photos: bool | None
    params: tuple[ParamChange, ...] | None
    photos: tuple[PhotoChange, ...] | None
    figures: tuple[FigureChange, ...]
    classes: tuple[ClassChange, ...]
    confusion: tuple[ConfusionChange, ...] | None

    @property
    def same_params(self) -> bool:
        """Whether both were trained with the same parameters."""
        return self.before.params_digest == self.after.params_digest


def compare_versions(registry: ModelVersions, first: int, second: int) -> VersionDiff:
    """Compare two versions of a model.

    Raises:
        DataError: one of them does not exist.
        IntegrityError: a manifest or a report is not trusted.
        StoreError: the store failed.
    """
    before, after = registry.manifest(first), registry.manifest(second)
    reports = read_report(registry, before), read_report(registry, after)
    same = _same_photos(before, after, *reports)
    figures = figures_of(before, reports[0]), figures_of(after, reports[1])
    return VersionDiff(
        before,
        after,
        same,
        None if None in reports else compare_params(*(report.params for report in reports if report)),
        _compare_photos(registry, before, after, *reports),
        tuple(_compare_figures(*figures, comparable=same is True)),
        _compare_classes(*figures, comparable=same is True),
        None if None in reports else _compare_confusion(*(report for report in reports if report)),
    )


def _same_photos(
    before: Manifest, after: Manifest, first: VersionReport | None, second: VersionReport | None
) -> bool | None:
    """The gate compares on one dataset; another dataset with the same test photos does as well."""
    if before.dataset.digest == after.dataset.digest:
        return True
    if first is None or second is None or first.test_photos is None or second.test_photos is None:
        return None
    return first.test_photos == second.test_photos


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def compare_params(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[ParamChange, ...]:
    """Return the parameters that differ, by their names with dots."""
    old, new = dict(_flatten(before)), dict(_flatten(after))
    return tuple(
        ParamChange(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if (name in old) != (name in new) or canonical_json(old[name]) != canonical_json(new[name])
    )


def _compare_photos(
    registry: ModelVersions,
    before: Manifest,
    after: Manifest,
    first: VersionReport | None,
    second: VersionReport | None,
) -> tuple[PhotoChange, ...] | None:
    if before.dataset.digest == after.dataset.digest:
        return ()
    if first and second and first.photos is not None and second.photos is not None:
        old, new = (_count_sources(photos) for photos in (first.photos, second.photos))
    else:
        catalogues = _catalogue(registry, before.dataset), _catalogue(registry, after.dataset)
        if catalogues[0] is None or catalogues[1] is None:
            return None
        old, new = catalogues[0], catalogues[1]
    keys = sorted({*old, *new}, key=lambda key: (key[1], key[0], key[2] or ""))
    return tuple(PhotoChange(*key, old.get(key, 0), new.get(key, 0)) for key in keys if old.get(key) != new.get(key))


def _count_sources(photos: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Counts:
    return {
        (split, label, source): n
        for split, classes in photos.items()
        for label, sources in classes.items()
        for source, n in sources.items()
    }


def _catalogue(registry: ModelVersions, ref: DatasetRef) -> Counts | None:
    """Photos by split and class, as the store's dataset version counts them; None: the store lacks it."""
    try:
        dataset = Dataset(registry.store, ref.name)
        version = dataset.version(ref.version) if ref.version else dataset.find(ref.digest)
        if version is None or version.digest != ref.digest:
            return None
        counts = version.index["counts"]
        return {(split, label, None): int(n) for split, classes in counts.items() for label, n in classes.items()}
    except (DataError, IntegrityError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _change(
    source: str, name: str, before: Estimate | None, after: Estimate | None, *, comparable: bool
) -> FigureChange:
    if before is None or after is None:
        return FigureChange(source, name, before, after, None, None)
    judgement = judge_estimates(before, after) if comparable else None
    return FigureChange(source, name, before, after, loss_of(before, after), judgement)


def _compare_figures(
    before: Mapping[str, SourceFigures], after: Mapping[str, SourceFigures], *, comparable: bool
) -> Iterator[FigureChange]:
    for source in dict.fromkeys((*before, *after)):
        old, new = (part[source].figures if source in part else {} for part in (before, after))
        for name in dict.fromkeys((*old, *new)):
            yield _change(source, name, old.get(name), new.get(name), comparable=comparable)


def _compare_classes(
    before: Mapping[str, SourceFigures], after: Mapping[str, SourceFigures], *, comparable: bool
) -> tuple[ClassChange, ...]:
    changes = []
    for source in dict.fromkeys((*before, *after)):
        old, new = (part[source].classes if source in part else {} for part in (before, after))
        for label in sorted({*old, *new}):
            one, two = old.get(label), new.get(label)
            recall, f1 = (
                _change(
                    source,
                    name,
                    one.figures[name] if one else None,
                    two.figures[name] if two else None,
                    comparable=comparable,
                )
                for name in ("recall", "f1")
            )
            if recall.before != recall.after or f1.before != f1.after:
                changes.append(ClassChange(source, label, one, two, recall, f1))
    return tuple(sorted(changes, key=_size))


def _size(change: ClassChange) -> tuple[float, float, str, str]:
    """The order of classes: the largest change of right answers first, then of F1; those without one last."""
    recall, f1 = change.recall.difference, change.f1.difference
    return -abs(recall if recall is not None else 0), -abs(f1 if f1 is not None else 0), change.source, change.label


def _compare_confusion(before: VersionReport, after: VersionReport) -> tuple[ConfusionChange, ...]:
    changes = []
    for source in dict.fromkeys((*before.slices, *after.slices)):
        pairs: list[dict[tuple[str, str], int]] = []
        whole = []
        for report in (before, after):
            part = report.slices.get(source)
            pairs.append({(truth, guess): n for truth, guess, n in part.confusion} if part else {})
            whole.append(part is not None and not part.more_pairs)
        old, new = pairs
        # a pair that one report had no room for did not vanish
        appeared = [(pair, 0, n) for pair, n in new.items() if pair not in old and whole[0]]
        vanished = [(pair, n, 0) for pair, n in old.items() if pair not in new and whole[1]]
        changes += [ConfusionChange(source, *pair, was, now) for pair, was, now in (*appeared, *vanished)]
    return tuple(sorted(changes, key=lambda item: (-max(item.before, item.after), item.source, item.label, item.guess)))
