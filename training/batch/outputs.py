"""What a day leaves in the store: a table in two forms, a page for people, and last the mark that it is done."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchard import layout
from orchard.documents import FORMAT, canonical_json, parse, sha256_hex
from orchard.errors import IntegrityError
from orchard.store import ObjectStore
from orchard.store.conditional import create_once, get_or_none
from training import pages
from training.batch.batch_plan import BatchPlan
from training.batch.predict_photos import SURE, PhotoPrediction, PredictionSet

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
    """Return the mark that a day is done, or None if it is not. Raises `IntegrityError`."""
    key = layout.batch_output(day, DONE)
    found = get_or_none(store, key)
    if found is None:
        return None
    document = parse(found.body, key)
    if document.get("format") != FORMAT or document.get("day") != day:
        raise IntegrityError(f"{key} is no mark of that day")
    return document


def write_outputs(store: ObjectStore, plan: BatchPlan, found: PredictionSet) -> dict[str, Any]:
    """Write a day's outputs and, last, its mark; the same plan writes the same bytes, so any attempt may end it.

    Returns:
        The mark as it is in the store.
    """
    files: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="orchard-batch-") as temporary:
        folder = Path(temporary)
        _write_parquet(folder / "predictions.parquet", plan, found)
        (folder / "predictions.csv").write_text(_csv(plan, found), encoding="utf-8", newline="")
        pages.write(folder / "index.html", "batch.html", **_page(plan, found))
        for name, kind in KINDS.items():
            body = (folder / name).read_bytes()
            store.put_file(layout.batch_output(plan.day, name), folder / name, kind)
            files[name] = {"sha256": sha256_hex(body), "bytes": len(body)}
    mark = canonical_json(_done(plan, found, files))
    return parse(create_once(store, layout.batch_output(plan.day, DONE), mark).body, DONE)


def _done(plan: BatchPlan, found: PredictionSet, files: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "day": plan.day,
        "model": plan.model,
        "channel": plan.channel,
        "version": plan.version,
        "run_id": plan.run_id,
        "photos": len(found.rows),
        "predicted": len(found.rows) - len(found.refused),
        "refused": len(found.refused),
        "unsure": found.doubtful,
        "counts": found.counts,
        "files": dict(files),
    }


def _rows(plan: BatchPlan, found: PredictionSet) -> list[dict[str, Any]]:
    return [{**asdict(row), "model": plan.model, "version": plan.version} for row in found.rows]


def _write_parquet(path: Path, plan: BatchPlan, found: PredictionSet) -> None:
    pq.write_table(pa.Table.from_pylist(_rows(plan, found), schema=SCHEMA), path, compression="zstd")


def _csv(plan: BatchPlan, found: PredictionSet) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, [*(item.name for item in fields(PhotoPrediction)), "model", "version"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in _rows(plan, found))
    return text.getvalue()


def _harmless(value: Any) -> Any:
    """A spreadsheet takes a text that begins with one of these for a formula; names of photos come from anywhere."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _page(plan: BatchPlan, found: PredictionSet) -> dict[str, Any]:
    refused = found.refused
    state = "plain" if not found.rows else "warn" if refused or found.doubtful else "good"
    return {
        "state": state,
        "plan": plan,
        "photos": len(found.rows),
        "refused": refused[:SHOWN_REFUSED],
        "refused_in_all": len(refused),
        "counts": found.counts,
        "unsure": [(row, pages.thumbnail(body, THUMBNAIL)) for row, body in found.unsure],
        "doubtful": found.doubtful,
        "sure": SURE,
    }
