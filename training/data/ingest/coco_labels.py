"""Label files of COCO: photos, annotations and categories. Each photo must have one category."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchard.errors import DataError
from training.data.ingest.label_columns import as_text
from training.data.ingest.label_rows import LabelRow, LabelTable, clean_path

__all__ = ["KEYS", "read_coco"]

KEYS = ("images", "annotations", "categories")


def read_coco(document: dict[str, Any], name: str) -> LabelTable:
    """Read a document of COCO. A photo with several boxes of one category has that class.

    Raises:
        DataError: something is missing or malformed, or refers to what is not there; with its number.
    """
    categories = {
        number: _value(record, "name", f"{name}, category {place}")
        for place, number, record in _records(document, "categories", name)
    }
    images = {number: (place, record) for place, number, record in _records(document, "images", name)}
    chosen: dict[str, set[str]] = {number: set() for number in images}
    for place, record in enumerate(_objects(document, "annotations", name), 1):
        where = f"{name}, annotation {place}"
        image, category = (_value(record, key, where) for key in ("image_id", "category_id"))
        for key, number, known in (("image_id", image, images), ("category_id", category, categories)):
            if number not in known:
                raise DataError(f"{where}: {key} {number!r} is not in {'images' if known is images else 'categories'}")
        chosen[image].add(categories[category])
    return LabelTable(name, "image", _rows(images, chosen, name))


def _rows(images: dict[str, tuple[int, dict[str, Any]]], chosen: dict[str, set[str]], name: str) -> Iterator[LabelRow]:
    for number, (place, record) in images.items():
        where = f"{name}, image {place}"
        labels = sorted(chosen[number])
        listed = ", ".join(map(repr, labels[:5]))
        problem = f"{where} has annotations of {len(labels)} categories ({listed}): expected one" if labels[1:] else ""
        try:
            path = clean_path(_value(record, "file_name", where))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        yield LabelRow(path, place, labels[0] if len(labels) == 1 else "", problem=problem)


def _objects(document: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    found = document[key]
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise DataError(f"{name}: {key!r} is not a list of objects, as in COCO")
    return found


def _records(document: dict[str, Any], key: str, name: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the place, the id and the content of each object of a list."""
    seen: set[str] = set()
    for place, record in enumerate(_objects(document, key, name), 1):
        number = _value(record, "id", f"{name}, record {place} of {key}")
        if number in seen:
            raise DataError(f"{name}, record {place} of {key}: the id {number!r} is there twice")
        seen.add(number)
        yield place, number, record


def _value(record: dict[str, Any], key: str, where: str) -> str:
    try:
        text = as_text(record.get(key))
    except ValueError as error:
        raise DataError(f"{where}: {key}: {error}") from error
    if not text:
        raise DataError(f"{where}: it has no {key!r}")
    return text
