"""`orchard batch`."""

from __future__ import annotations

from typing import Any

import click

from orchard.cli.verb import verb
from orchard.errors import DataError
from orchard.reporter import Reporter
from training.cli.options import day_option, skip_code_option


@verb(
    group="Serve",
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
    photos has no rows. If not one of its photos can be predicted, the exit code is 4. Before the first version is
    promoted, nothing is written: the day is not done.
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
    if document["photos"] and not document["predicted"]:
        raise _nothing_predicted(document)
    reporter.result(document, _text(reporter, document))


def _nothing_predicted(document: dict[str, Any]) -> DataError:
    from training.data.rejections import RejectionReason

    reasons = document.get("reasons", {})
    listed = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    rules = sorted({RejectionReason(reason).rule for reason in reasons if reason in set(RejectionReason)} - {""})
    hint = f"{document['page']} and the column `detail` of predictions.csv beside it say more"
    if rules:
        hint = (
            f"the version has the rules of the schema that it was trained with ({', '.join(rules)}): change "
            f"data/schema.yaml, then train and promote again; {hint}"
        )
    return DataError(f"{document['day']}: none of {document['photos']} photos could be predicted: {listed}", hint=hint)


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
