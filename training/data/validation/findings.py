"""Checks a dataset against the rules of data/schema.yaml: each finding has the problem and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchard.formatting import shorten
from training.data.schema import SchemaRules
from training.data.shards import RESTORE, SPLITS, Index, is_shard_name
from training.data.validation.content import DatasetContent

__all__ = ["ValidationFinding", "of_content", "of_files"]

MAX_NAMES = 6


@dataclass(frozen=True, slots=True)
class ValidationFinding:
    """A problem of the dataset.

    Attributes:
        level: an ``"error"`` fails the validation, a ``"warning"`` does not.
        rule: the schema's rule.
        message: what is wrong.
        remedy: what to do.
    """

    level: Literal["error", "warning"]
    rule: str
    message: str
    remedy: str


def _error(rule: str, message: str, remedy: str) -> ValidationFinding:
    return ValidationFinding("error", rule, message, remedy)


def _shorten(items: Iterable[str]) -> str:
    return shorten(list(items), MAX_NAMES)


def of_files(folder: Path, index: Index, damaged: dict[str, str]) -> Iterator[ValidationFinding]:
    """Check the folder's files."""
    for message in damaged.values():
        yield _error("shards", message, RESTORE)
    listed = {shard.path for shard in index.shards}
    extra = sorted(path.name for path in folder.iterdir() if is_shard_name(path.name) and path.name not in listed)
    if extra:
        text = f"the index does not list {_shorten(extra)}: an ingest was killed"
        yield ValidationFinding("warning", "shards", text, "the next `orchard ingest` deletes them")


def of_content(index: Index, content: DatasetContent, rules: SchemaRules) -> Iterator[ValidationFinding]:
    """Check the content of the shards."""
    yield from _classes(index, rules)
    yield from _counts(index, content, rules)
    yield from _balance(index, content, rules)
    yield from _sizes(content, rules)
    yield from _pictures(content)
    yield from _near(content)
    yield from _slices(index, content)


def _classes(index: Index, rules: SchemaRules) -> Iterator[ValidationFinding]:
    if len(index.classes) < 2:
        text = f"the dataset has {len(index.classes)} class; a classifier needs two"
        yield _error("classes", text, "ingest photos of a second class")
    if rules.known is None:
        return
    missing = sorted(set(rules.known) - set(index.classes))
    if missing:
        text = f"no photo at all of {_shorten(missing)}"
        yield _error("classes", text, "ingest photos of them, or remove them from the schema's list")
    extra = sorted(set(index.classes) - set(rules.known))
    if extra:
        text = f"not among the schema's {len(rules.known)} classes: {_shorten(extra)}"
        yield _error("classes", text, "add them to the schema, or ingest into a new dataset without them")


def _counts(index: Index, content: DatasetContent, rules: SchemaRules) -> Iterator[ValidationFinding]:
    for split in SPLITS:
        listed = {label: number for label, number in index.counts[split].items() if number}
        actual = {label: content.count(split, label) for label in {label for _, label, _ in content.counts}}
        if listed != {label: number for label, number in actual.items() if number}:
            text = f"the counts of {split} photos in index.json are not those of the shards"
            yield _error("counts", text, RESTORE)
        fewest = getattr(rules.photos, split)
        few = [label for label in index.classes if content.count(split, label) < fewest]
        if few:
            text = f"fewer than {fewest} {split} photos: " + _shorten(
                f"{label} ({content.count(split, label)})" for label in few
            )
            yield _error(f"photos.{split}", text, f"ingest more {split} photos of them, or lower photos.{split}")


def _balance(index: Index, content: DatasetContent, rules: SchemaRules) -> Iterator[ValidationFinding]:
    numbers = {label: content.count("train", label) for label in index.classes if content.count("train", label)}
    if not numbers:
        return
    most, least = max(numbers, key=lambda label: numbers[label]), min(numbers, key=lambda label: numbers[label])
    if numbers[most] > rules.balance * numbers[least]:
        text = (
            f"{most} has {numbers[most]} train photos, {least} {numbers[least]}: "
            f"more than {rules.balance:g} times as many"
        )
        yield _error("balance", text, f"ingest more photos of {least}, or raise balance")


def _sizes(content: DatasetContent, rules: SchemaRules) -> Iterator[ValidationFinding]:
    for size, number in sorted(content.sizes.items()):
        if size[0] * size[1] > rules.pixels:
            text = f"{number} photos have {size[0]}×{size[1]} pixels; at most {rules.pixels} are allowed"
            yield _error("pixels", text, "ingest into a new dataset without them, or change pixels")
        if min(size) < rules.side.min or max(size) > rules.side.max:
            text = (
                f"{number} photos have {size[0]}×{size[1]} pixels; sides must have {rules.side.min} to {rules.side.max}"
            )
            yield _error("side", text, "ingest into a new dataset without them, or change side")


def _pictures(content: DatasetContent) -> Iterator[ValidationFinding]:
    remedy = "ingest into a new dataset: shards never change, and `orchard ingest` rejects the second copy"
    across = [f"{repeat.first} = {repeat.second}" for repeat in content.repeats if repeat.across]
    if across:
        yield _error("overlap", f"{len(across)} pictures are in train and in test: {_shorten(across)}", remedy)
    within = [f"{repeat.first} = {repeat.second}" for repeat in content.repeats if not repeat.across]
    if within:
        yield _error("duplicates", f"{len(within)} pictures are twice in one split: {_shorten(within)}", remedy)
    if content.altered:
        text = f"the bytes of {len(content.altered)} photos have another SHA-256 than their rows: {_shorten(content.altered)}"
        yield _error("sha256", text, RESTORE)


def _near(content: DatasetContent) -> Iterator[ValidationFinding]:
    near = content.near
    if near is not None and near.across_splits:
        sources = ", ".join(f"{number} of {source}" for source, number in near.across_splits.items())
        text = f"test photos with a near-copy in train: {sources}; the model has seen them"
        remedy = "look at them on the page; `orchard data remove` takes the copies in train out"
        yield ValidationFinding("warning", "near duplicates", text, remedy)
    if near is not None and near.across_classes:
        sources = ", ".join(f"{number} of {source}" for source, number in near.across_classes.items())
        text = f"photos with a near-copy in another class: {sources}; one of the two labels may be wrong"
        remedy = "look at them on the page; `orchard data relabel` corrects a label"
        yield ValidationFinding("warning", "near duplicates", text, remedy)


def _slices(index: Index, content: DatasetContent) -> Iterator[ValidationFinding]:
    for source in content.sources:
        missing = [label for label in index.classes if not content.count("test", label, source)]
        if missing and len(missing) < len(index.classes):
            text = f"no {source} photo in test of {_shorten(missing)}"
            yield ValidationFinding(
                "warning",
                "sources",
                text,
                f"the evaluation shows n = 0 for them on {source}; ingest test photos of them",
            )
