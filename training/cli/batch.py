"""`orchard batch`."""

from __future__ import annotations

from typing import Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter
from training.cli.options import day_option, skip_code_option


@verb(
    extra="training",
    examples=(
        "orchard batch --day 2026-11-24\n"
        "orchard batch --day 2026-11-24 --json | jq .counts\n"
        "for day in 2026-11-2{1,2,3}; do orchard batch --day $day; done     # days that have passed"
    ),
)
@day_option()
@skip_code_option("Exit with this code, and without an error, where the channel has no version yet.")
def batch(reporter: Reporter, *, day: str, skip_code: int | None) -> None:
    """Predict a day's photos with the version that the channel points to.

    Reads batch/in/YYYY-MM-DD/… in the store and writes batch/out/YYYY-MM-DD/: predictions.parquet and predictions.csv
    with one row a photo, index.html with counts, low-confidence photos and rejections, and last done.json. The version is
    verified as `orchard sync` verifies it. A file that is not a photo is a row with its reason. A day that is done is
    not predicted again; one that was killed resumes with the version and the photos that it began with. A day without
    photos has no rows. Before the first version is promoted, nothing is written: the day is not done.
    """
    from orchard import layout, settings
    from training.batch.batch_plan import NoVersion
    from training.batch.daily_batch import predict_day

    try:
        result = predict_day(settings.load(), day, reporter)
    except NoVersion as error:
        if skip_code is None:
            raise
        reason = f"{error.message}: run retrain first; the day is not marked done, run it again then"
        reporter.result({"day": day, "no_version": reason}, reason)
        click.get_current_context().exit(skip_code)
    document = {**result.done, "before": result.before, "page": layout.batch_output(day, "index.html")}
    reporter.result(document, _text(reporter, document))


def _text(reporter: Reporter, document: dict[str, Any]) -> str:
    day, version = document["day"], f"version {document['version']} of {document['model']}"
    if not document["photos"]:
        line = f"{day}: no photos"
    else:
        line = f"{day}: {document['predicted']} of {document['photos']} photos predicted by {version}"
    if document["before"]:
        line = f"{line}; it was done before and is not predicted again"
    tail = f"{document['unsure']} unsure, {document['refused']} refused; the page: {document['page']}"
    rows = [[label, number] for label, number in document["counts"].items()]
    return "\n".join([*([reporter.table(["label", "photos"], rows), ""] if rows else []), line, tail])
