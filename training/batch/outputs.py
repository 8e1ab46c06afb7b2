"""The outputs of a day in the store: a table in two formats, a page for people, and last the document that it is done."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchard import layout
from orchard.disk import temporary_folder
from orchard.documents import FORMAT, canonical_json, parse, sha256_hex
from orchard.errors import IntegrityError
from orchard.store import ObjectStore
from orchard.store.conditional import create_once, get_or_none
from training import pages
from training.batch.batch_plan import BatchPlan
from training.batch.predict_photos import LOW_CONFIDENCE, PhotoPrediction, PredictionSet

__all__ = ["read_done", "write_outputs"]

DONE = "done.json"
KINDS = {
    "predictions.parquet": "application/vnd.apache.parquet",
    "predictions.csv": "text/csv; charset=utf-8",
    "index.html": "text/html; charset=utf-8",
}
SCHEMA = pa.schema(
    [
        ("photo", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("second", pa.string()),
        ("second_probability", pa.float64()),
        ("error", pa.string()),
        ("detail", pa.string()),
        ("model", pa.string()),
        ("version", pa.int64()),
    ]
)
SHOWN_REFUSED = 200
THUMBNAIL = 112


def read_done(store: ObjectStore, day: str) -> dict[str, Any] | None:
    """Return the document of a day that is done, or None if it is not done. Raises `IntegrityError`."""
    key = layout.batch_output(day, DONE)
    content = get_or_none(store, key)
    if content is None:
        return None
    document = parse(content.body, key)
    if document.get("format") != FORMAT or document.get("day") != day:
        raise IntegrityError(f"{key} is not a valid document of that day")
    return document


def write_outputs(store: ObjectStore, plan: BatchPlan, predictions: PredictionSet) -> dict[str, Any]:
    """Write a day's outputs, ``done.json`` last. The same plan writes the same bytes, so any attempt may finish the day.

    Returns:
        ``done.json`` as it is in the store.
    """
    files: dict[str, dict[str, Any]] = {}
    with temporary_folder("orchard-batch-") as folder:
        _write_parquet(folder / "predictions.parquet", plan, predictions)
        (folder / "predictions.csv").write_text(_csv(plan, predictions), encoding="utf-8", newline="")
        pages.write(folder / "index.html", "batch.html", **_page(plan, predictions))
        for name, kind in KINDS.items():
            body = (folder / name).read_bytes()
            store.put_file(layout.batch_output(plan.day, name), folder / name, kind)
            files[name] = {"sha256": sha256_hex(body), "bytes": len(body)}
    done = canonical_json(_done(plan, predictions, files))
    return parse(create_once(store, layout.batch_output(plan.day, DONE), done).body, DONE)


def _done(plan: BatchPlan, predictions: PredictionSet, files: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "day": plan.day,
        "model": plan.model,
        "channel": plan.channel,
        "version": plan.version,
        "run_id": plan.run_id,
        "photos": len(predictions.rows),
        "predicted": len(predictions.rows) - len(predictions.refused),
        "refused": len(predictions.refused),
        "unsure": predictions.low_confidence,
        "counts": predictions.counts,
        "reasons": predictions.reasons,
        "files": dict(files),
    }


def _rows(plan: BatchPlan, predictions: PredictionSet) -> list[dict[str, Any]]:
    return [{**asdict(row), "model": plan.model, "version": plan.version} for row in predictions.rows]


def _write_parquet(path: Path, plan: BatchPlan, predictions: PredictionSet) -> None:
    pq.write_table(pa.Table.from_pylist(_rows(plan, predictions), schema=SCHEMA), path, compression="zstd")


def _csv(plan: BatchPlan, predictions: PredictionSet) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, [*(item.name for item in fields(PhotoPrediction)), "model", "version"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows({name: _escape_formula(value) for name, value in row.items()} for row in _rows(plan, predictions))
    return text.getvalue()


def _escape_formula(value: Any) -> Any:
    """Escape a text that a spreadsheet would read as a formula: names of photos are not trusted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _page(plan: BatchPlan, predictions: PredictionSet) -> dict[str, Any]:
    refused = predictions.refused
    state = "plain" if not predictions.rows else "warn" if refused or predictions.low_confidence else "good"
    return {
        "state": state,
        "plan": plan,
        "photos": len(predictions.rows),
        "refused": refused[:SHOWN_REFUSED],
        "refused_in_all": len(refused),
        "counts": predictions.counts,
        "unsure": [(row, pages.thumbnail(body, THUMBNAIL)) for row, body in predictions.least_confident],
        "doubtful": predictions.low_confidence,
        "sure": LOW_CONFIDENCE,
    }
