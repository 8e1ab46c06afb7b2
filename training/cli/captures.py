"""`orchard captures`: what was captured of the traffic, and its photos for tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb, verb_group
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from training.data.captured_photos import CaptureCounts, CaptureSummary

__all__ = ["captures"]

_FORMATS = ("folder", "label-studio", "fiftyone")
_days = click.option("--day", "days", multiple=True, metavar="YYYY-MM-DD", help="Only this day (UTC); may be repeated.")


@verb_group("Data")
def captures() -> None:
    """Count and export photos of the traffic that `orchard serve --capture` has stored."""


@verb(extra="training", examples="orchard captures show\norchard captures show --day 2026-11-30 --json")
@_days
def show(reporter: Reporter, *, days: tuple[str, ...]) -> None:
    """Show how many photos were captured: by day, by version and channel, by predicted class; and how many are unsure.

    Reads everything but the photos. Housekeeping deletes captures after 30 days: see docs/privacy.md.
    """
    from orchard import settings
    from orchard.store import open_store
    from training.data.captured_photos import list_captures, summarise

    config = settings.load()
    store = open_store(config)
    with reporter.status(f"counting captures of {config.model}"):
        summary = summarise(store, list_captures(store, config.model, days))
    reporter.result({"model": config.model, **_document(summary)}, _text(reporter, config.model, summary))


def _counts(counts: CaptureCounts) -> dict[str, Any]:
    return {"photos": counts.photos, "unsure": counts.unsure, "unsure_share": counts.unsure_share}


def _document(summary: CaptureSummary) -> dict[str, Any]:
    return {
        **_counts(summary.all),
        "days": [
            {"day": day, **_counts(counts), "requests": requests, "clients": clients, "bytes": size}
            for day, (counts, requests, clients, size) in sorted(summary.days.items())
        ],
        "versions": [
            {"version": version, "channel": channel, **_counts(counts)}
            for (version, channel), counts in sorted(summary.versions.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        ],
        "labels": [{"label": label, **_counts(counts)} for label, counts in _most_frequent(summary)],
    }  # fmt: skip


def _most_frequent(summary: CaptureSummary) -> list[tuple[str | None, CaptureCounts]]:
    return sorted(summary.labels.items(), key=lambda item: (-item[1].photos, item[0] or ""))


def _text(reporter: Reporter, model: str, summary: CaptureSummary) -> str:
    if not summary.all.photos:
        return f"nothing is captured of {model}: `orchard serve --capture 10` stores every tenth request"
    found = _document(summary)

    def table(title: list[str], rows: Iterable[dict[str, Any]], *more: str) -> str:
        lines = [
            [*(_shown(row[name]) for name in (*title, "photos")), _share(row), *(row[x] for x in more)] for row in rows
        ]
        return reporter.table([*title, "photos", "unsure", *more], lines)

    days = [{**row, "MB": f"{row['bytes'] / 1e6:.1f}"} for row in found["days"]]
    tables = [
        table(["day"], days, "requests", "clients", "MB"),
        table(["version", "channel"], found["versions"]),
        table(["label"], found["labels"]),
    ]
    return "\n\n".join([*tables, f"{summary.all.photos} photos of {model}"])


def _shown(value: object) -> object:
    return "-" if value is None else value


def _share(row: dict[str, Any]) -> str:
    from orchard.formatting import percent

    return percent(row["unsure_share"])


@verb(
    extra="training",
    examples=(
        "orchard captures export captured                            # photos/ and predictions.csv\n"
        "orchard captures export review --unsure --format label-studio\n"
        "orchard captures export look --day 2026-11-30 --format fiftyone"
    ),
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="folder", show_default=True,
    help="What to write beside photos and predictions.csv: nothing, Label Studio's tasks, or FiftyOne's labels.",
)  # fmt: skip
@click.option("--unsure", is_flag=True, help="Only photos that the model was unsure of.")
@_days
def export(reporter: Reporter, *, folder: Path, form: str, unsure: bool, days: tuple[str, ...]) -> None:
    """Write captured photos to FOLDER, which must be empty, with a table of their predictions.

    A photo that was captured several times is one file with several rows. What is exported is personal data if the photos
    are: delete the folder when the work is done.
    """
    from orchard import settings
    from orchard.store import open_store
    from training.data.capture_exports import export_captures
    from training.data.captured_photos import iterate_captures, list_captures

    config = settings.load()
    store = open_store(config)
    found = iterate_captures(store, list_captures(store, config.model, days))
    with reporter.status(f"exporting captures of {config.model}"):
        done = export_captures((photo for photo in found if photo.unsure or not unsure), folder, form)
    document = {"model": config.model, "folder": str(folder), "format": form, "rows": done.rows, "photos": done.photos}
    reporter.result(document, f"{done.photos} photos with {done.rows} predictions of {config.model} are in {folder}")


for _command in (show, export):
    captures.add_command(_command)
