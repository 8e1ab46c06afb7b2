"""`orchard diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.cli.version_argument import VERSION, find_version, open_to_read
from orchard.cli.version_text import FIGURE_NAMES, estimate_text, value_text
from orchard.formatting import points, points_interval
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.registry.comparison import FigureChange, PhotoChange, VersionDiff

TOP = 20
"""Classes, parameters, classes of photos and pairs that the text shows; --top shows more."""


@verb(
    group="Registry",
    extra="training",
    examples="orchard diff 6 7\norchard diff stable latest --top 5\norchard diff 6 7 --html build/diff.html\n"
    "orchard diff 6 7 --json | jq '.figures[] | select(.judgement == \"worse\")'",
)
@click.argument("before", type=VERSION)
@click.argument("after", type=VERSION)
@click.option("--top", type=click.IntRange(1), default=TOP, show_default=True, metavar="N", help="Rows of each table.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with both side by side, and both model cards beside it.",
)
def diff(reporter: Reporter, *, before: int | str, after: int | str, top: int, page: Path | None) -> None:
    """Show what changed from version BEFORE to AFTER (numbers, `latest`, or channels).

    Data (photos by class and source), parameters, figures with 95 % intervals, classes, pairs of classes that are
    confused in only one of them, code and size. A change is *better* or *worse* only if its 95 % interval excludes 0,
    as for the gate; otherwise it is *within noise*. Figures of different test photos are shown and not judged.
    """
    from orchard.disk import require_space
    from orchard.registry.comparison import compare_versions

    if page is not None:
        require_space(page.absolute().parent, 0, "the page")
    registry = open_to_read()
    numbers = [find_version(registry, version) for version in (before, after)]
    found = compare_versions(registry, *numbers)
    text = "\n".join(_text(reporter, found, top))
    document = _document(found)
    if page is not None:
        from training.release.diff_page import write_diff

        document["page"] = str(page)
        document["cards"] = [str(path) for path in write_diff(page, registry, found)]
        text += f"\n\nthe page: {page}"
    reporter.result({"model": registry.model, **document}, text)


def _document(found: VersionDiff) -> dict[str, Any]:
    from orchard.documents import encode

    document = encode(found)
    for name in ("before", "after"):
        manifest = getattr(found, name)
        document[name] = {
            "version": manifest.version,
            "created": manifest.created,
            "code": manifest.code,
            "dataset": encode(manifest.dataset),
            "params_digest": manifest.params_digest,
            "gate": encode(manifest.gate),
            "size": manifest.size,
        }
    return document | {"same_params": found.same_params}


def _text(reporter: Reporter, found: VersionDiff, top: int) -> Iterator[str]:
    facts = list(_facts(found, top))
    width = max(len(name) for name, _ in facts) + 2
    yield f"{found.before.model} {found.before.version} → {found.after.version}"
    yield from (f"  {name:{width}}{text}".rstrip() for name, text in facts)
    if found.photos:
        yield ""
        yield from _photos(reporter, found.photos, top)
    if found.figures:
        yield ""
        yield _figures(reporter, found)
    if found.classes:
        yield ""
        yield from _classes(reporter, found, top)
    if found.confusion:
        yield ""
        yield from _confusion(found, top)


def _facts(found: VersionDiff, top: int) -> Iterator[tuple[str, str]]:
    before, after = found.before, found.after
    yield "dataset", _dataset(found)
    yield "code", before.code if before.code == after.code else f"{before.code} → {after.code}"
    change = (after.size - before.size) / 1e6
    yield "size", f"{before.size / 1e6:.1f} MB → {after.size / 1e6:.1f} MB ({change:+.1f})"
    yield "gate", f"{before.gate.verdict} → {after.gate.verdict}"
    if found.same_photos is not True:
        known = "other ones" if found.same_photos is False else "perhaps other ones"
        yield "test photos", f"{known}: figures are shown side by side and not judged, as the gate would not"
    if found.params is None:
        text = "the same" if found.same_params else "not the same; a version without a report does not say which"
        yield "parameters", text
        return
    yield "parameters", f"{len(found.params)} differ" if found.params else "the same"
    for one in found.params[:top]:
        yield "", f"{one.name}: {value_text(one.before)} → {value_text(one.after)}"
    yield from _more(len(found.params), top)


def _more(count: int, top: int) -> Iterator[tuple[str, str]]:
    if count > top:
        yield "", f"and {count - top} more (--top)"


def _dataset(found: VersionDiff) -> str:
    def name(index: int) -> str:
        data = (found.before, found.after)[index].dataset
        return f"{data.name} {data.version or data.digest[:12]}"

    if found.before.dataset.digest == found.after.dataset.digest:
        return f"{name(0)}, the same"
    if found.photos is None:
        return f"{name(0)} → {name(1)}; the store does not count the photos of both"
    changes = Counter[str]()
    for one in found.photos:
        changes["added" if one.after > one.before else "removed"] += abs(one.after - one.before)
    return f"{name(0)} → {name(1)}: {changes['added']} photos added, {changes['removed']} removed, by class"


def _photos(reporter: Reporter, photos: tuple[PhotoChange, ...], top: int) -> Iterator[str]:
    ranked = sorted(photos, key=lambda one: (-abs(one.after - one.before), one.label, one.split, one.source or ""))
    rows = [
        [one.label, one.split, one.source or "–", one.before, one.after, f"{one.after - one.before:+d}"]
        for one in ranked[:top]
    ]
    yield reporter.table(["photos of", "split", "source", "before", "after", ""], rows)
    yield from (text for _, text in _more(len(ranked), top))


def _judgement(change: FigureChange, *, same: bool | None) -> str:
    if change.loss is None:
        return "–"
    return change.judgement or ("perhaps other photos" if same is None else "other photos")


def _gain(change: FigureChange) -> str:
    """The interval of ``after - before``."""
    return "–" if change.loss is None else points_interval((-change.loss[1], -change.loss[0]))


def _figures(reporter: Reporter, found: VersionDiff) -> str:
    rows = [
        [
            one.source,
            FIGURE_NAMES.get(one.name, one.name),
            estimate_text(one.before),
            estimate_text(one.after),
            points(one.difference),
            _gain(one),
            _judgement(one, same=found.same_photos),
        ]
        for one in found.figures
    ]
    columns = ["photos", "figure", str(found.before.version), str(found.after.version), "points", "95 %", ""]
    return reporter.table(columns, rows)


def _classes(reporter: Reporter, found: VersionDiff, top: int) -> Iterator[str]:
    rows = [
        [
            one.source,
            one.label,
            *(f"{part.correct} of {part.n}" if part else "–" for part in (one.before, one.after)),
            points(one.recall.difference),
            _gain(one.recall),
            _judgement(one.recall, same=found.same_photos),
            points(one.f1.difference),
        ]
        for one in found.classes[:top]
    ]
    first, second = found.before.version, found.after.version
    columns = ["photos", "class", f"right, {first}", f"right, {second}", "points", "95 %", "", "F1, points"]
    yield reporter.table(columns, rows)
    yield from (text for _, text in _more(len(found.classes), top))


def _confusion(found: VersionDiff, top: int) -> Iterator[str]:
    pairs = found.confusion or ()
    yield "pairs of classes that only one of them confuses"
    for one in pairs[:top]:
        mark, n = ("+", one.after) if one.after else ("−", one.before)
        yield f"  {mark} {one.source}: {one.label} taken for {one.guess} {n}×"
    yield from (f"  {text}" for _, text in _more(len(pairs), top))
