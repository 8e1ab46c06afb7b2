"""`orchard data stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from training.data.dataset_counts import VersionCounts


@verb(extra="training", examples="orchard data stats\norchard data stats --version 3 --json")
@click.option(
    "--version",
    "number",
    type=click.IntRange(min=1),
    help="Show the classes of this version. Default: the current one.",
)
@click.option("--dataset", help="The dataset's name. Default: ORCHARD_DATASET.")
def stats(reporter: Reporter, *, number: int | None, dataset: str | None) -> None:
    """Count a dataset's photos by class, split and source, over its versions in the store.

    The sources are counted where the shards are on this machine; `orchard pull` downloads them. Elsewhere their figure
    is "–", in --json null.
    """
    from orchard import settings
    from orchard.dataset import Dataset
    from orchard.key_names import require_name
    from orchard.store import open_store
    from training.data.dataset_counts import count_versions
    from training.data.dvc_project import DATA

    loaded = settings.load()
    published = Dataset(open_store(loaded), require_name(dataset or loaded.dataset))
    shown = published.require(number).version
    counted = count_versions(map(published.version, published.versions()), DATA / published.name)
    document = {"dataset": published.name, "versions": [_document(counts) for counts in counted]}
    position = next(place for place, counts in enumerate(counted) if counts.version.version == shown)
    before = counted[position - 1] if position else None
    lines = [_versions(counted, reporter), "", _classes(counted[position], before, reporter)]
    if any(counts.sources is None for counts in counted):
        lines += ["", "–: shards of that version are not on this machine; `orchard pull --version N` downloads them"]
    reporter.result(document, "\n".join(lines))


def _document(counts: VersionCounts) -> dict[str, Any]:
    by_source: dict[str, dict[str, dict[str, int]]] | None = None
    if counts.sources is not None:
        by_source = {split: {label: {} for label in labels} for split, labels in counts.classes.items()}
        for (split, label, source), number in sorted(counts.sources.items()):
            by_source[split][label][source] = number
    return {
        "version": counts.version.version,
        "digest": counts.version.digest,
        "created": counts.version.created,
        "created_by": counts.version.created_by,
        "why": counts.version.why,
        "photos": counts.count(),
        "counts": counts.classes,
        "sources": by_source,
    }


def _sources(counted: list[VersionCounts]) -> list[str]:
    return sorted({source for counts in counted for _, _, source in counts.sources or ()})


def _cell(number: int | None) -> str:
    return "–" if number is None else str(number)


def _versions(counted: list[VersionCounts], reporter: Reporter) -> str:
    sources, rows, last = _sources(counted), [], None
    for counts in counted:
        total = counts.count() or 0
        rows.append(
            [
                counts.version.version,
                counts.version.created[:10],
                total,
                "" if last is None else f"{total - last:+d}",
                *(_cell(counts.count(split)) for split in ("train", "test")),
                sum(1 for label in counts.classes["train"] if counts.count(label=label)),
                *(_cell(counts.count(source=source)) for source in sources),
                counts.version.why or "",
            ]
        )
        last = total
    return reporter.table(["version", "date", "photos", "", "train", "test", "classes", *sources, "why"], rows)


def _classes(counts: VersionCounts, before: VersionCounts | None, reporter: Reporter) -> str:
    sources, rows = _sources([counts]), []
    labels = sorted({*counts.classes["train"], *(before.classes["train"] if before else ())})
    for label in labels:
        total, old = counts.count(label=label) or 0, (before.count(label=label) or 0) if before else None
        change = "" if old in (None, total) else f"{total - (old or 0):+d}"
        parts = [counts.count(split, label, source) for split in ("train", "test") for source in sources]
        rows.append([label, total, change, *(_cell(part) for part in parts)])
    heads = [f"{split} {source}" for split in ("train", "test") for source in sources]
    since = f"since {before.version.version}" if before else ""
    return reporter.table([f"class, version {counts.version.version}", "photos", since, *heads], rows)
