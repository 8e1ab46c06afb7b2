"""Captured photos as files, in the forms that tools for labelling and looking at photos import.

- Label Studio: its basic JSON format, a task for each photo with `predictions`, and a labelling configuration. The form is
  described in its guide, "Import pre-annotated data" (labelstud.io/guide/predictions); photos are named as its local storage
  serves them (labelstud.io/guide/storage, "Tasks with local storage file references").
- FiftyOne: `FiftyOneImageClassificationDataset`, a folder `data` and a `labels.json` with label, confidence and attributes
  (docs.voxel51.com/user_guide/import_datasets.html).

Each form has `predictions.csv` beside it, a row for each capture; a photo that was captured several times is one file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from orchard.disk import writing_to
from orchard.errors import DataError
from training.data.captured_photos import CapturedPhoto

__all__ = ["EXPORT_FORMATS", "ExportResult", "export_captures"]

_COLUMNS = ("photo", "label", "probability", "unsure", "version", "channel", "time", "request_id", "client")
_PREDICTION, _IMAGE = "label", "image"
"""The names of the control and of the object in Label Studio's configuration."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written: rows of the table, and files of photos."""

    rows: int
    photos: int


def export_captures(captures: Iterable[CapturedPhoto], folder: Path, form: str) -> ExportResult:
    """Write captured photos into a folder.

    Args:
        captures: the photos.
        folder: is created; it must be empty.
        form: one of `EXPORT_FORMATS`.

    Raises:
        DataError: the folder has files.
        DiskError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: expected a new or an empty folder", hint="choose another folder")
    photos = "data" if form == "fiftyone" else "photos"
    answers: dict[str, list[CapturedPhoto]] = {}
    rows = 0
    with writing_to(folder):
        (folder / photos).mkdir(parents=True)
        with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            for captured in captures:
                rows += 1
                name = captured.name
                if name not in answers:
                    (folder / photos / name).write_bytes(captured.image)
                answers.setdefault(name, []).append(captured.without_image())
                table.writerow(_row(f"{photos}/{name}", captured))
        EXPORT_FORMATS[form](folder, answers)
    return ExportResult(rows, len(answers))


def _row(path: str, captured: CapturedPhoto) -> list[object]:
    probability = "" if captured.probability is None else f"{captured.probability:.6g}"
    unsure = "" if captured.unsure is None else str(captured.unsure).lower()
    known = [captured.version, captured.channel or "", captured.time.isoformat(), captured.request_id, captured.client]
    return [path, captured.label or "", probability, unsure, *known]


def _write_nothing(folder: Path, answers: dict[str, list[CapturedPhoto]]) -> None:
    """The photos and the table are all."""


def _write_label_studio(folder: Path, answers: dict[str, list[CapturedPhoto]]) -> None:
    base = f"/data/local-files/?d={quote(folder.resolve().name)}/photos/"
    tasks = [
        {
            "data": {
                _IMAGE: base + name,
                "time": captures[-1].time.isoformat(),
                "unsure": captures[-1].unsure,
                "channel": captures[-1].channel,
            },
            "predictions": [_prediction(captured) for captured in _newest_by_version(captures)],
        }
        for name, captures in answers.items()
    ]
    labels = sorted({captured.label for found in answers.values() for captured in found if captured.label is not None})
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    (folder / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / "labels.xml").write_text(
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}"/>\n'
        f'  <Choices name="{_PREDICTION}" toName="{_IMAGE}" choice="single">\n{choices}\n  </Choices>\n</View>\n',
        encoding="utf-8",
    )


def _newest_by_version(captures: list[CapturedPhoto]) -> list[CapturedPhoto]:
    """The last prediction of each version; none without a label."""
    return list({captured.version: captured for captured in captures if captured.label is not None}.values())


def _prediction(captured: CapturedPhoto) -> dict[str, Any]:
    value = {"choices": [captured.label]}
    result = {"from_name": _PREDICTION, "to_name": _IMAGE, "type": "choices", "value": value}
    score = {} if captured.probability is None else {"score": captured.probability}
    return {"model_version": str(captured.version), **score, "result": [result]}


def _write_fiftyone(folder: Path, answers: dict[str, list[CapturedPhoto]]) -> None:
    """Write the last prediction of each photo; one without a label is an unlabelled sample."""
    labels = {
        Path(name).stem: {
            "label": last.label,
            "confidence": last.probability,
            "attributes": {"version": last.version, "channel": last.channel, "unsure": last.unsure},
        }
        for name, captures in answers.items()
        if (last := captures[-1]).label is not None
    }
    (folder / "labels.json").write_text(
        json.dumps({"labels": labels}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )


EXPORT_FORMATS: dict[str, Callable[[Path, dict[str, list[CapturedPhoto]]], None]] = {
    "folder": _write_nothing,
    "label-studio": _write_label_studio,
    "fiftyone": _write_fiftyone,
}
"""What each form has beside the photos and the table."""
