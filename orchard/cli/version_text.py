"""Versions as text for people: the row of a list, and one version in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchard.estimates import Estimate
from orchard.formatting import accuracy_text, figure_text, percent
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.annotations import Annotation
    from orchard.registry.version_figures import ClassFigures, SourceFigures
    from orchard.registry.version_overview import VersionDetails, VersionSummary

__all__ = ["COLUMNS", "FIGURE_NAMES", "describe_version", "estimate_text", "row", "second", "value_text", "worst_first"]

COLUMNS = ["version", "channels", "dataset", "gate", "size", "accuracy (95 % interval)", "tags", "created", "by"]

FIGURE_NAMES = {
    "accuracy": "accuracy",
    "top3": "top 3",
    "macro_f1": "macro F1",
    "unsure": "unsure",
    "sure_accuracy": "accuracy if sure",
}
"""What people call the figures of a source."""

_CLASS_FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def second(created: str) -> str:
    """A time for people, without fractions of a second."""
    return f"{created[:19]}Z"


def estimate_text(item: Estimate | None) -> str:
    """A figure with its 95 % interval."""
    return figure_text(item["value"], (item["low"], item["high"])) if item else percent(None)


def value_text(value: Any) -> str:
    """A parameter's value on one line."""
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def row(summary: VersionSummary) -> list[object]:
    """The row of a version in a list with `COLUMNS`."""
    where = " ".join(summary.channels) or "-"
    tags = "not trusted" if summary.tags is None else ", ".join(summary.tags) or "-"
    item = summary.manifest
    if item is None:
        return [summary.version, where, "not trusted", "-", "-", "-", tags, "-", "-"]
    figures = [
        f"{name} {_accuracy(value, int(item.metrics.get(f'{name}.n', 0)))}"
        for key, value in item.metrics.items()
        if (name := key.removesuffix(".accuracy")) != key
    ]
    data = f"{item.dataset.name} {item.dataset.version or item.dataset.digest[:12]}"
    size = f"{item.size / 1e6:.1f} MB"
    accuracy = ", ".join(figures) or "-"
    return [item.version, where, data, item.gate.verdict, size, accuracy, tags, second(item.created), item.created_by]


def _accuracy(share: float, n: int) -> str:
    """Write an accuracy, with its interval if the manifest has the number of photos."""
    return accuracy_text(round(share * n), n) if n else percent(share)


def describe_version(reporter: Reporter, details: VersionDetails, top: int | None) -> str:
    """One version in full; with `top`, only so many classes of each source, the worst ones."""
    facts = list(_facts(details))
    width = max(len(name) for name, _ in facts) + 2
    lines = [f"{details.manifest.model} {details.manifest.version}"]
    lines += [f"  {name:{width}}{text}".rstrip() for name, text in facts]
    if details.figures:
        lines += ["", _sources(reporter, details.figures)]
    if any(part.classes for part in details.figures.values()):
        lines += ["", *_classes(reporter, details, top)]
    lines += ["", *_notes(details.notes)] if details.notes else []
    return "\n".join(lines)


def _facts(details: VersionDetails) -> Iterator[tuple[str, str]]:
    item, data = details.manifest, details.manifest.dataset
    run = f", in the run {item.run_id}" if item.run_id else ""
    yield "created", f"{second(item.created)} by {item.created_by}{run}"
    yield "code", item.code
    number = f"version {data.version}" if data.version else "not in the store"
    yield "dataset", f"{data.name}, {number}, digest {data.digest}"
    yield "signature", f"valid, by the trusted key {item.signed_by}"
    pointers = [f"{one.channel} (since {second(one.created)}, generation {one.generation})" for one in details.pointers]
    yield "channels", ", ".join(pointers) or "none"
    yield "size", f"{item.size / 1e6:.1f} MB in {len(item.files)} files"
    card = details.summary.card
    yield "model card", f"{card} (`orchard card {item.version}` fetches it)" if card else "none"
    yield "tags", ", ".join(details.summary.tags or ()) or "none"
    yield "gate", f"{item.gate.verdict}: {item.gate.reason}"
    yield from _gate(details)
    yield from _params(details)


def _gate(details: VersionDetails) -> Iterator[tuple[str, str]]:
    gate = details.report.gate if details.report else None
    if gate is None:
        return
    yield "", gate.compared
    yield from (("", f"✗ {sentence}") for sentence in gate.failed)
    yield from (("", f"! warning: {sentence}") for sentence in gate.warnings)


def _params(details: VersionDetails) -> Iterator[tuple[str, str]]:
    item, previous, changes = details.manifest, details.previous, details.param_changes
    if previous is None:
        yield "parameters", f"digest {item.params_digest}"
    elif changes is None:
        yield "parameters", f"not those of version {previous.version}; a version without a report does not say which"
    elif not changes:
        yield "parameters", f"those of version {previous.version}"
    else:
        yield "parameters", f"{len(changes)} differ from those of version {previous.version}:"
        yield from (("", f"{one.name}: {value_text(one.before)} → {value_text(one.after)}") for one in changes)


def _sources(reporter: Reporter, figures: Mapping[str, SourceFigures]) -> str:
    names = [name for name in FIGURE_NAMES if any(part.figures.get(name) for part in figures.values())]
    rows = [
        [source, part.n, *(estimate_text(part.figures.get(name)) for name in names)] for source, part in figures.items()
    ]
    return reporter.table(["photos", "n", *(FIGURE_NAMES[name] for name in names)], rows)


def worst_first(classes: Mapping[str, ClassFigures]) -> list[tuple[str, ClassFigures]]:
    """Return the classes that have photos or are predicted, the lowest F1 (or share of right answers) first."""

    def key(item: tuple[str, ClassFigures]) -> tuple[float, int, str]:
        figure = item[1].figures["f1"] or item[1].figures["recall"]
        return (figure["value"] if figure else 2.0, -item[1].n, item[0])

    return sorted(((label, part) for label, part in classes.items() if part.n or part.predicted), key=key)


def _classes(reporter: Reporter, details: VersionDetails, top: int | None) -> list[str]:
    known = [name for name in _CLASS_FIGURES if details.report is not None or name == "recall"]
    rows, left_out = [], 0
    for source, part in details.figures.items():
        ranked = worst_first(part.classes)
        shown = ranked if top is None else ranked[:top]
        left_out += len(ranked) - len(shown)
        rows += [
            [source, label, f"{one.correct} of {one.n}", *(estimate_text(one.figures[name]) for name in known)]
            for label, one in shown
        ]
    lines = [reporter.table(["photos", "class", "right", *(_CLASS_FIGURES[name] for name in known)], rows)]
    if left_out:
        lines.append(f"{left_out} better classes are left out")
    if details.report is None:
        lines.append("precision and F1 are not known: the version was published without a report")
    return lines


def _notes(notes: tuple[Annotation, ...]) -> Iterator[str]:
    yield "notes"
    for note in notes:
        first, *more = note.text.splitlines()
        yield f"  {second(note.created)} {note.who}: {first}"
        yield from (f"    {line}".rstrip() for line in more)
