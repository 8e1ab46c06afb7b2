"""`orchard validate`: a dataset folder and the schema → findings, as JSON and as one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchard.files import atomic_write
from training import pages
from training.data import schema
from training.data.dvc_project import DATA
from training.data.published_version import describe_dataset
from training.data.schema import SchemaRules
from training.data.shards import SPLITS, Index, read_index
from training.data.validation.content import DatasetContent, damaged_shards, read
from training.data.validation.findings import ValidationFinding, of_content, of_files
from training.data.validation.label_report import LABELS, LabelCheck, page_section
from training.data.validation.near_report import near_section

__all__ = ["LABELS", "OUTPUT", "ValidationResult", "validate", "write"]

OUTPUT = Path("artifacts") / "validation"


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The result of a validation.

    Attributes:
        index: the dataset's index.
        rules: the schema's rules for the dataset.
        own_rules: whether the schema has a section for this dataset.
        findings: the problems, errors first.
        content: the shards' content; None if they are damaged and were not read.
        near: what the page shows of near-copies; None: nothing was looked for.
    """

    index: Index
    rules: SchemaRules
    own_rules: bool
    findings: tuple[ValidationFinding, ...]
    content: DatasetContent | None
    near: dict[str, Any] | None = None

    @property
    def errors(self) -> tuple[ValidationFinding, ...]:
        """The findings that fail the validation."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def passed(self) -> bool:
        """Whether a model may be trained on the dataset."""
        return not self.errors

    @property
    def document(self) -> dict[str, Any]:
        """The content of validation.json; the same dataset and schema give the same document."""
        counts = {} if self.content is None else _counts(self.index, self.content)
        sizes = {} if self.content is None else self.content.sizes
        return {
            "format": 1,
            "dataset": {"name": self.index.name, "digest": self.index.digest},
            "passed": self.passed,
            "findings": [asdict(item) for item in self.findings],
            "photos": self.index.rows,
            "counts": counts,
            "near_duplicates": self.content.near.document if self.content and self.content.near else None,
            "sizes": {f"{width}×{height}": number for (width, height), number in sorted(sizes.items())},
            "rules": self.rules.model_dump(mode="json"),
        }


def _counts(index: Index, content: DatasetContent) -> dict[str, dict[str, dict[str, int]]]:
    sources = content.sources
    return {
        split: {label: {source: content.count(split, label, source) for source in sources} for label in index.classes}
        for split in SPLITS
    }


def validate(folder: Path, path: Path = schema.SCHEMA, *, near: bool = True) -> ValidationResult:
    """Check a dataset folder (``data/<name>``) against the schema file `path`; with `near`, look for near-copies too.

    Raises:
        DataError: there is no dataset.
        IntegrityError: its index is malformed, so nothing else can be checked.
        ParamsError: the schema is invalid.
    """
    loaded = schema.load(path)
    index = read_index(folder)
    rules = loaded.rules(index.name)
    damaged = damaged_shards(folder, index)
    findings = list(of_files(folder, index, damaged))
    content = None if damaged else read(folder, near=near)
    if content is not None:
        findings += of_content(index, content, rules)
    ordered = tuple(sorted(findings, key=lambda finding: finding.level))
    section = None if content is None or content.near is None else near_section(content.near, folder, index.name)
    return ValidationResult(index, rules, index.name in loaded.datasets, ordered, content, section)


def write(
    validation: ValidationResult, output: Path = OUTPUT, labels: LabelCheck | None = None, folder: Path | None = None
) -> None:
    """Write validation.json and page.html atomically; the same input gives the same bytes, but for the page's last lines.

    Args:
        validation: the result.
        output: where to write.
        labels: the check of the labels, for labels.json and its section on the page; None: the labels were not checked,
            and a labels.json of before is deleted.
        folder: the dataset folder, which has the pictures for `labels`.
    """
    output.mkdir(parents=True, exist_ok=True)
    section = None if labels is None or folder is None else page_section(labels, folder, validation.index.name)
    for name, document in (("validation.json", validation.document), (LABELS, labels and labels.document)):
        if document:
            atomic_write(output / name, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        else:
            (output / name).unlink(missing_ok=True)
    own = "artifacts/validation/page.html"
    made = pages.made_now(describe_dataset(DATA / validation.index.name, validation.index.digest))
    pages.write(output / "page.html", "validation.html", own=own, made=made, labels=section, **_page(validation))


def _page(validation: ValidationResult) -> dict[str, Any]:
    index, content = validation.index, validation.content
    warnings = len(validation.findings) - len(validation.errors)
    rows = []
    if content is not None:
        pictured, sources = index.classes[: pages.MOST_ROWS], content.sources
        rows = [_row(label, content, sources, pictured=label in pictured) for label in index.classes]
    largest = max((row["total"] for row in rows), default=1) or 1
    sizes = [] if content is None else sorted(content.sizes.items(), key=lambda item: (-item[1], item[0]))
    return {
        "state": "bad" if validation.errors else "warn" if warnings else "good",
        "name": index.name,
        "digest": index.digest,
        "errors": len(validation.errors),
        "warnings": warnings,
        "findings": validation.findings,
        "photos": index.rows,
        "shards": index.shards,
        "bytes": sum(shard.bytes for shard in index.shards),
        "splits": {split: sum(index.counts[split].values()) for split in SPLITS},
        "sources": content.sources if content else (),
        "rows": rows,
        "largest": largest,
        "sizes": [(f"{width}×{height}", pages.count(number)) for (width, height), number in sizes[:8]],
        "more_sizes": max(0, len(sizes) - 8),
        "rules": validation.rules,
        "own_rules": validation.own_rules,
        "near": validation.near,
    }


def _row(label: str, content: DatasetContent, sources: Sequence[str], *, pictured: bool) -> dict[str, Any]:
    return {
        "label": label,
        "cells": [content.count(split, label, source) for split in SPLITS for source in sources],
        "total": sum(content.count(split, label) for split in SPLITS),
        "samples": [uri for source in sources for uri in content.samples[label, source]] if pictured else [],
    }
