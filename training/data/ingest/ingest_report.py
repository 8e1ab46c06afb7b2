"""The report of an ingest: the list of all rejected and changed photos for programs, and a summary for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchard.reporter import Reporter
from training.data.rejections import RejectedPhoto
from training.data.shards import Index

__all__ = ["IngestFindings", "count_reasons", "describe_rejections", "document", "summary"]

SHOWN = 5


@dataclass(frozen=True, slots=True)
class IngestFindings:
    """What became of the files of all sources.

    Attributes:
        files: how many were checked.
        added: how many became rows.
        present: how many the dataset had already.
        refused: the rejected ones, by path.
        changed: (path, change) of photos that were encoded again, by path.
        left_out: the number of photos by class, of classes that were not selected.
        empty: (split, class) of folders without a valid photo.
        ignored: how many files are outside of the photos' folders.
        without_split: how many photos got their split here, because no folder names one.
    """

    files: int
    added: int
    present: int
    refused: tuple[RejectedPhoto, ...]
    changed: tuple[tuple[str, str], ...]
    left_out: dict[str, int]
    empty: tuple[tuple[str, str], ...]
    ignored: int
    without_split: int = 0

    @property
    def share(self) -> float:
        """The share of rejected files."""
        return len(self.refused) / self.files if self.files else 0.0


def count_reasons(refused: Iterable[RejectedPhoto]) -> dict[str, int]:
    """Count rejections by reason, the most frequent first."""
    counted = Counter(str(item.reason) for item in refused)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def describe_rejections(refused: tuple[RejectedPhoto, ...]) -> str:
    """Describe rejections for people: the number by reason, and the first few files."""
    lines = [f"{number} {reason}" for reason, number in count_reasons(refused).items()]
    shown = [f"  {item.path}: {item.reason}: {item.detail}" for item in refused[:SHOWN]]
    more = [f"  … and {len(refused) - SHOWN} more"] if len(refused) > SHOWN else []
    return "\n".join([", ".join(lines), *shown, *more])


def document(dataset: str, findings: IngestFindings) -> dict[str, Any]:
    """The content of artifacts/ingest/refused.json."""
    return {
        "format": 1,
        "dataset": dataset,
        "files": findings.files,
        "added": findings.added,
        "present": findings.present,
        "reasons": count_reasons(findings.refused),
        "refused": [{"path": i.path, "reason": str(i.reason), "detail": i.detail} for i in findings.refused],
        "changed": [{"path": path, "what": what} for path, what in findings.changed],
        "left_out": findings.left_out,
        "empty": [{"split": split, "class": label} for split, label in findings.empty],
        "ignored": findings.ignored,
        "without_split": findings.without_split,
    }


def summary(findings: IngestFindings, index: Index, shards_added: int, version: int | None, reporter: Reporter) -> str:
    """The result for people: counts per split and class, added and rejected photos, and the dataset's new state."""
    rows = [[label, index.counts["train"][label], index.counts["test"][label]] for label in index.classes]
    totals = [sum(index.counts[split].values()) for split in ("train", "test")]
    lines = [reporter.table(["class", "train", "test"], [*rows, ["all", *totals]]), ""]
    if findings.added:
        lines.append(f"added {findings.added} photos in {shards_added} new shard{'s' * (shards_added != 1)}")
    else:
        lines.append("nothing new: the dataset has every photo already")
    if findings.present and findings.added:
        lines.append(f"{findings.present} were in it already")
    if findings.refused:
        lines.append(f"rejected {len(findings.refused)} of {findings.files}: {describe_rejections(findings.refused)}")
    if findings.without_split:
        lines.append(f"no folder names a split: {findings.without_split} photos were split here, by their pixels")
    if findings.changed:
        kinds = Counter(what for _, what in findings.changed)
        lines.append("encoded again: " + ", ".join(f"{number} {what}" for what, number in sorted(kinds.items())))
    if findings.left_out:
        number, classes = sum(findings.left_out.values()), len(findings.left_out)
        lines.append(f"left out {number} photos of {classes} classes that were not selected")
    if findings.ignored:
        number = findings.ignored
        lines.append(
            f"ignored {number} file{'s' * (number != 1)} beside the photos, such as those of NAS and file managers"
        )
    if findings.empty:
        lines.append("no photo in " + ", ".join(f"{split}/{label}" for split, label in findings.empty))
    state = f"version {version} in the store" if version is not None else "on this machine only (--no-push)"
    lines.append(f"dataset {index.name}: {index.rows} photos, {state}, digest {index.digest[:12]}")
    return "\n".join(lines)
