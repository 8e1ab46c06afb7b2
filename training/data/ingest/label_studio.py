"""Label files that Label Studio exports as JSON: a list of tasks, with the choices of its annotators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from orchard.errors import DataError
from training.data.ingest.label_columns import as_text
from training.data.ingest.label_rows import LabelRow, LabelTable, clean_path

__all__ = ["is_label_studio", "read_label_studio"]

UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
"""The name of an uploaded file, after a prefix that Label Studio gives it."""


def is_label_studio(document: Any) -> bool:
    """Whether a JSON value is a list of tasks, each with data and annotations."""
    return isinstance(document, list) and bool(document) and all(map(_is_task, document))


def _is_task(task: Any) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and isinstance(task.get("annotations"), list)


def read_label_studio(tasks: list[dict[str, Any]], name: str) -> LabelTable:
    """Read tasks. A photo's class is the one choice of all its annotations that were not cancelled.

    The path of a photo is a web address or a path on the annotator's server. Its end is compared: `/data/upload/3/`,
    the begin of other addresses, and the eight digits before the name of an uploaded file may be absent.

    Raises:
        DataError: a task is malformed; with its number.
    """
    return LabelTable(name, "task", _rows(tasks, name))


def _rows(tasks: list[dict[str, Any]], name: str) -> Iterator[LabelRow]:
    for number, task in enumerate(tasks, 1):
        try:
            path = _photo_path(task["data"])
            labels = sorted(set(_choices(task["annotations"])))
        except ValueError as error:
            raise DataError(f"{name}, task {number}: {error}") from error
        listed = ", ".join(map(repr, labels[:5]))
        problem = f"{name}, task {number} has several choices ({listed}): expected one" if labels[1:] else ""
        yield LabelRow(path, number, labels[0] if len(labels) == 1 else "", problem=problem, others=_ends(path))


def _photo_path(data: dict[str, Any]) -> str:
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    address = texts.get("image", next(iter(texts.values())) if len(texts) == 1 else None)
    if address is None:
        raise ValueError(
            f"expected 'image' in its data, or a single text; it has {', '.join(map(repr, data)) or 'none'}"
        )
    if address.startswith("data:"):
        raise ValueError("its photo is in the label file itself: export the photos too")
    if "://" in address or address.startswith("/data/"):
        parsed = urlsplit(address)
        local = parse_qs(parsed.query).get("d")
        address = local[0] if local else unquote(parsed.netloc + parsed.path)
    return clean_path(as_text(address.lstrip("/")))


def _ends(path: str) -> tuple[str, ...]:
    """The other paths that a photo may have in the source: the ends of its address."""
    parts = path.split("/")
    ends = ["/".join(parts[place:]) for place in range(1, len(parts))]
    uploaded = UPLOADED.fullmatch(parts[-1])
    return (*ends, uploaded[1]) if uploaded and "upload" in parts[:-1] else tuple(ends)


def _choices(annotations: list[Any]) -> Iterator[str]:
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(results := annotation.get("result", []), list):
            raise ValueError("an annotation is not an object with a list 'result'")
        if annotation.get("was_cancelled"):
            continue
        for result in results:
            if not isinstance(result, dict):
                raise ValueError("a result is not an object")
            if result.get("type") != "choices":
                continue
            value = result.get("value")
            chosen = value.get("choices") if isinstance(value, dict) else None
            if not isinstance(chosen, list):
                raise ValueError("a result of type 'choices' has no list 'choices'")
            yield from filter(None, map(as_text, chosen))
