"""The report of an ingest: the list of all rejected and changed photos for programs, and a summary for people."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchard.reporter import Reporter
from training.data.rejections import RejectedPhoto
from training.data.shards import Index

__all__ = [
    "IngestFindings",
    "count_reasons",
    "counts",
    "describe_rejections",
    "document",
    "summary",
]

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
        notes: (path, note) of photos with something odd that changes nothing, by path.
        left_out: the number of photos by class, of classes that were not selected.
        empty: (split, class) of folders without a valid photo.
        ignored: how many files are outside of the photos' folders.
        found: how many files the sources hold: `added`, `present`, `refused`, `left_out` and `ignored` add up to it.
        moved: how many of the rejected photos the dataset has in another split or class.
        not_found: what was requested and is not in the sources, in a sentence each.
        advice: what to do about the moved photos; empty: there are none.
        without_split: how many photos got their split here, because no folder names one.
        warnings: what to know of the splits, in a sentence each.
    """

    files: int
    added: int
    present: int
    refused: tuple[RejectedPhoto, ...]
    changed: tuple[tuple[str, str], ...]
    left_out: dict[str, int]
    empty: tuple[tuple[str, str], ...]
    ignored: int
    found: int
    moved: int
    not_found: tuple[str, ...] = ()
    advice: str = ""
    without_split: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def share(self) -> float:
        """The share of rejected files."""
        return len(self.refused) / self.files if self.files else 0.0


def count_reasons(refused: Iterable[RejectedPhoto]) -> dict[str, int]:
    """Count rejections by reason, the most frequent first."""
    counted = Counter(str(item.reason) for item in refused)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _causes(refused: Iterable[RejectedPhoto]) -> list[list[RejectedPhoto]]:
    """Group rejections with the same reason and detail, the most frequent first."""
    groups: dict[tuple[str, str], list[RejectedPhoto]] = {}
    for item in refused:
        groups.setdefault((item.reason, item.detail), []).append(item)
    return sorted(groups.values(), key=lambda group: -len(group))


def _describe_cause(group: list[RejectedPhoto]) -> str:
    first = group[0]
    if len(group) == 1:
        return f"  {first.path}: {first.reason}: {first.detail}"
    return f"  {len(group)} files: {first.reason}: {first.detail}; the first is {first.path}"


def describe_rejections(refused: tuple[RejectedPhoto, ...]) -> str:
    """Describe rejections for people: the number by reason, and each cause once, with its first file."""
    lines = [f"{number} {reason}" for reason, number in count_reasons(refused).items()]
    causes = _causes(refused)
    rest = sum(map(len, causes[SHOWN:]))
    more = [f"  … and {rest} more"] if rest else []
    return "\n".join([", ".join(lines), *map(_describe_cause, causes[:SHOWN]), *more])


def counts(findings: IngestFindings) -> dict[str, int]:
    """What became of every file: the numbers add up to `found`."""
    return {
        "found": findings.found,
        "added": findings.added,
        "present": findings.present,
        "rejected": len(findings.refused),
        "not selected": sum(findings.left_out.values()),
        "ignored": findings.ignored,
    }


def _describe_counts(findings: IngestFindings) -> str:
    numbers = counts(findings)
    names = {"present": "in the dataset already", "not selected": "of classes that were not selected"}
    names |= {"ignored": "ignored beside the photos, such as those of NAS and file managers"}
    found = numbers.pop("found")
    parts = [f"{number} {names.get(name, name)}" for name, number in numbers.items() if number or name == "added"]
    return f"found {found} file{'s' * (found != 1)}: {', '.join(parts)}"


def document(dataset: str, findings: IngestFindings) -> dict[str, Any]:
    """The content of artifacts/ingest/refused.json."""
    return {
        "format": 1,
        "dataset": dataset,
        "found": findings.found,
        "files": findings.files,
        "added": findings.added,
        "present": findings.present,
        "reasons": count_reasons(findings.refused),
        "refused": [{"path": i.path, "reason": str(i.reason), "detail": i.detail} for i in findings.refused],
        "changed": [{"path": path, "what": what} for path, what in findings.changed],
        "notes": [{"path": path, "what": what} for path, what in findings.notes],
        "left_out": findings.left_out,
        "empty": [{"split": split, "class": label} for split, label in findings.empty],
        "ignored": findings.ignored,
        "moved": findings.moved,
        "not_found": list(findings.not_found),
        "advice": findings.advice,
        "without_split": findings.without_split,
        "warnings": list(findings.warnings),
    }


def summary(findings: IngestFindings, index: Index, shards_added: int, version: int | None, reporter: Reporter) -> str:
    """The result for people: counts per split and class, added and rejected photos, and the dataset's new state."""
    rows = [[label, index.counts["train"][label], index.counts["test"][label]] for label in index.classes]
    totals = [sum(index.counts[split].values()) for split in ("train", "test")]
    lines = [reporter.table(["class", "train", "test"], [*rows, ["all", *totals]]), ""]
    if findings.added:
        lines.append(f"added {findings.added} photos in {shards_added} new shard{'s' * (shards_added != 1)}")
    else:
        lines.append(f"nothing new: the dataset has {findings.present} of these photos already")
    lines.append(_describe_counts(findings))
    if findings.refused:
        lines.append(f"rejected {len(findings.refused)} of {findings.files}: {describe_rejections(findings.refused)}")
    if findings.without_split:
        lines.append(
            f"nothing names a split: {findings.without_split} photos were split here, by their pixels or groups"
        )
    lines += [f"warning: {text}" for text in findings.warnings]
    if findings.changed:
        kinds = Counter(what for _, what in findings.changed)
        lines.append("encoded again: " + ", ".join(f"{number} {what}" for what, number in sorted(kinds.items())))
    noted = Counter(what for _, what in findings.notes)
    lines += [f"note: {number} file{'s' * (number != 1)}: {what}" for what, number in sorted(noted.items())]
    lines += [f"not found: {text}" for text in findings.not_found]
    lines += [f"advice: {findings.advice}"] if findings.advice else []
    if findings.empty:
        lines.append("no photo in " + ", ".join(f"{split}/{label}" for split, label in findings.empty))
    state = f"version {version} in the store" if version is not None else "on this machine only (--no-push)"
    rejected = f", {len(findings.refused)} rejected" if findings.refused else ""
    lines.append(f"dataset {index.name}: {index.rows} photos{rejected}, {state}, digest {index.digest[:12]}")
    lines.append(f"next: orchard validate --dataset {shlex.quote(index.name)}")
    return "\n".join(lines)
