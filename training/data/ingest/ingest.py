"""`orchard ingest`: sources → new shards → the dataset folder, all or nothing."""

from __future__ import annotations

import csv
import io
import json
import shlex
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from orchard.disk import writing_to
from orchard.errors import DataError
from orchard.files import atomic_write
from orchard.reporter import Reporter
from training.data import staging
from training.data.dvc_project import DATA
from training.data.ingest import ingest_report
from training.data.ingest.deduplicate import Deduplication, deduplicate
from training.data.ingest.ingest_report import IngestFindings
from training.data.ingest.layouts import LAYOUT
from training.data.ingest.placement import UNSPLIT, PhotoPlacement
from training.data.ingest.requested import CountedSources
from training.data.ingest.scan import AllowedClasses, ScannedPhoto, SourceScan, scan
from training.data.ingest.shard_writer import write_shards
from training.data.ingest.source_labels import open_labels
from training.data.ingest.sources import Source
from training.data.ingest.test_share import assign_splits
from training.data.rejections import RejectionReason
from training.data.schema import SCHEMA, SchemaRules, load
from training.data.shards import SPLITS, Index, Shard, iterate, read_groups, read_originals

__all__ = ["MAX_REFUSED", "REPORT", "IngestRequest", "IngestResult", "ingest"]

REPORT = Path("artifacts") / "ingest" / "refused.json"
RELABELLED = REPORT.with_name("relabel.csv")
"""The photos that the dataset has in another class: what `orchard data relabel` reads."""
MAX_REFUSED = 0.02
"""The default of the largest share of rejected files."""
UNCHANGED = "the dataset is unchanged"
LABEL_FILE = {RejectionReason.UNLABELLED, RejectionReason.NO_PHOTO}
"""What a label file and the photos lack of each other."""


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """The options of an ingest.

    Attributes:
        sources: folders, tar archives, photos, or other sources.
        dataset: the dataset's name.
        classes: take only these; None: all.
        source: the source of all photos; None: the one of their folder, as the schema maps it.
        split: the split of photos whose folders name none.
        label: the class of photos whose folders name none.
        test_share: the share of each class that is for the test, of photos whose folders name no split; None: those
            photos are rejected.
        labels: a label file, here or in a source; None: folders, or metadata in them, say what the photos are.
        max_refused: the largest share of rejected files, 0 to 1.
        schema: the file with the rules.
    """

    sources: tuple[Source, ...]
    dataset: str
    classes: tuple[str, ...] | None = None
    source: str | None = None
    split: str | None = None
    label: str | None = None
    test_share: float | None = None
    labels: Path | None = None
    max_refused: float = MAX_REFUSED
    schema: Path = SCHEMA


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The result of an ingest: the dataset's new index, the number of new shards, and what became of the files."""

    index: Index
    shards_added: int
    findings: IngestFindings


def ingest(request: IngestRequest, reporter: Reporter) -> IngestResult:
    """Add photos to the dataset folder. The caller holds `staging.locked`.

    Raises:
        DataError: too many files were rejected, a class is empty, or there are no photos. Nothing has changed then.
        IntegrityError: the existing dataset is damaged.
        DiskError: the disk is full. Nothing has changed then.
        ParamsError: the schema is invalid.
    """
    schema = load(request.schema)
    rules = schema.rules(request.dataset)
    folder = DATA / request.dataset
    with warnings.catch_warnings(), staging.staged(DATA, request.dataset) as stage, writing_to(DATA, UNCHANGED):
        warnings.filterwarnings("ignore", module="PIL")  # warnings about odd metadata of a photo do not help the user
        index = staging.sweep(folder)
        present, known = (_read_present(folder), _read_known_files(folder, index)) if index else ({}, {})
        placing = _placing(request, rules)
        classes = _allowed_classes(request, rules, index)
        sources = CountedSources(request.sources, classes.selected)
        with (stage / "spool").open("w+b") as spool:
            scanned = scan(
                sources.walk(placing),
                classes=classes,
                rules=rules,
                name_source=lambda name: request.source or schema.source(name),
                present=present,
                known=known,
                spool=spool,
                progress=lambda decoded: reporter.track(decoded, "decoding photos"),
            )
            bare = sum(row.split == UNSPLIT for row in scanned.rows)
            assigned = assign_splits(scanned.rows, present, request.test_share or 0.0, _split_groups(folder, index))
            unique = deduplicate(assigned.rows, present)
            scanned = replace(scanned, rows=assigned.rows, refused=[*scanned.refused, *assigned.refused])
            findings = replace(
                _findings(scanned, unique),
                not_found=sources.not_found(_empty_splits(unique.rows, index)),
                advice=_relabel_advice(request, unique.moved, _write_relabelled(folder, unique.relabelled)),
                without_split=bare - len(assigned.refused),
                warnings=assigned.warnings,
            )
            _write_report(request.dataset, findings)
            _require_dataset(request, findings, _labels(unique.rows, index))
            shards = write_shards(stage, unique.rows, spool, index.next_number if index else 0)
        merged = _merge(request.dataset, index, unique.rows, shards)
        if shards:
            staging.install(stage, folder, merged)
    return IngestResult(merged, len(shards), findings)


def _placing(request: IngestRequest, rules: SchemaRules) -> PhotoPlacement:
    labels = open_labels(request.labels, request.sources) if request.labels else None
    unsplit = request.test_share is not None
    return PhotoPlacement(request.split, request.label, rules.bytes, unsplit, labels=labels)


def _read_present(folder: Path) -> dict[str, tuple[str, str]]:
    """Read the dataset's photos, `pixels_sha256` → (split, class), and verify its shards."""
    present: dict[str, tuple[str, str]] = {}
    for batch in iterate(folder, columns=["pixels_sha256", "split", "label"], check=True, rows=65_536):
        pixels, splits, labels = (column.to_pylist() for column in batch.columns)
        present.update(zip(pixels, zip(splits, labels, strict=True), strict=True))
    return present


def _read_known_files(folder: Path, index: Index) -> dict[str, str]:
    """Read the digests of the dataset's files, as they are stored and before they were converted → `pixels_sha256`."""
    known: dict[str, str] = {}
    for batch in iterate(folder, columns=["sha256", "pixels_sha256"], rows=65_536):
        known.update(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    originals = [read_originals(folder, shard) for shard in index.shards]
    return known | {file: known[stored] for listed in originals for stored, file in listed.items() if stored in known}


def _split_groups(folder: Path, index: Index | None) -> dict[str, set[str]]:
    """Read the groups that the dataset's photos are in → the splits of these photos."""
    shards = index.shards if index else ()
    groups = {digest: group for shard in shards for digest, group in read_groups(folder, shard).items()}
    found: dict[str, set[str]] = {}
    for batch in iterate(folder, columns=["sha256", "split"], rows=65_536) if groups else ():
        for digest, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if digest in groups:
                found.setdefault(groups[digest], set()).add(split)
    return found


def _allowed_classes(request: IngestRequest, rules: SchemaRules, index: Index | None) -> AllowedClasses:
    """Return the allowed classes: the schema's, or else those of the existing dataset and those of --classes."""
    selected = None
    if request.classes is not None:
        selected = frozenset(unicodedata.normalize("NFC", label.strip()) for label in request.classes)
    known = None if rules.known is None else frozenset(rules.known)
    if known is None and index is not None:
        known = frozenset(index.classes) | (selected or frozenset())
    classes = AllowedClasses(selected, known)
    named = [*(selected or ()), *([request.label] if request.label else [])]
    problems = [text for label in sorted(named) if (text := classes.problem(label))]
    if problems:
        hint = f"{request.schema} lists the classes of {request.dataset!r}" if rules.known else "name it with --classes"
        raise DataError("; ".join(problems), hint=hint)
    return classes


def _findings(scanned: SourceScan, unique: Deduplication) -> IngestFindings:
    usable = {(row.split, row.label) for row in scanned.rows}
    return IngestFindings(
        files=scanned.files,
        added=len(unique.rows),
        present=unique.present,
        refused=tuple(sorted((*scanned.refused, *unique.refused), key=lambda item: (item.path, item.reason))),
        changed=tuple(sorted(scanned.changed)),
        notes=tuple(sorted(scanned.notes)),
        left_out=dict(sorted(scanned.left_out.items())),
        empty=tuple(sorted(scanned.folders - usable)),
        ignored=len(scanned.ignored),
        found=scanned.found,
        moved=unique.moved,
    )


def _write_relabelled(folder: Path, relabelled: dict[str, str]) -> int:
    """Write the list for `orchard data relabel`: the photos that are in another class here; return how many they are."""
    RELABELLED.unlink(missing_ok=True)
    if not relabelled:
        return 0
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(["sha256", "label"])
    for batch in iterate(folder, columns=["sha256", "pixels_sha256"]):
        digests, pixels = (column.to_pylist() for column in batch.columns)
        rows.writerows([sha, relabelled[each]] for sha, each in zip(digests, pixels, strict=True) if each in relabelled)
    RELABELLED.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(RELABELLED, lines.getvalue())
    return len(relabelled)


def _relabel_advice(request: IngestRequest, moved: int, relabelled: int) -> str:
    """How to correct labels; empty: no photo was moved to another class or split."""
    if not moved:
        return ""
    command = shlex.join(["orchard", "data", "relabel", "--dataset", request.dataset, "--from", str(RELABELLED)])
    simple = (
        f"the dataset {request.dataset!r} has {relabelled} of these photos in another class, and its photos keep theirs. "
        f"If the folders are right, `{command}` corrects the dataset (add --no-push if you ingest with it); with "
        "--dry-run it shows the photos first"
    )
    if relabelled == moved:
        return simple
    return f"{simple}. {_new_dataset(request, moved)}" if relabelled else _new_dataset(request, moved)


def _new_dataset(request: IngestRequest, moved: int) -> str:
    """How to correct whatever was moved, by a new dataset."""
    new = f"{request.dataset}-2"
    paths = [str(source) for source in request.sources if isinstance(source, Path)]
    command = " ".join(map(shlex.quote, ["orchard", "ingest", *(paths or ["SOURCE"]), "--dataset", new]))
    return (
        f"the dataset {request.dataset!r} has {moved} of these photos in another class or split, and its photos keep "
        f"theirs. To correct them, make a new dataset of all its sources, with the options of before: `{command}`. Then "
        f"train on it: `orchard train --set data.name={new}`, or `data: {{name: {new}}}` in params.yaml. If "
        f"{request.schema} has rules for {request.dataset!r}, copy them for {new!r}. "
        "Of a demo, delete its folder in .orchard/demo and run it again instead"
    )


def _write_report(dataset: str, findings: IngestFindings) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(REPORT, json.dumps(ingest_report.document(dataset, findings), ensure_ascii=False, indent=1) + "\n")


def _labels(rows: Iterable[ScannedPhoto], index: Index | None) -> set[str]:
    """The classes that have photos."""
    present = index.counts.values() if index else ()
    return {row.label for row in rows} | {label for counts in present for label, number in counts.items() if number}


def _empty_splits(rows: Iterable[ScannedPhoto], index: Index | None) -> list[str]:
    """The splits that will have no photo."""
    new = {row.split for row in rows}
    return [split for split in SPLITS if split not in new and not (index and any(index.counts[split].values()))]


def _require_dataset(request: IngestRequest, findings: IngestFindings, labels: set[str]) -> None:
    """Raise if the photos do not make a valid dataset. Nothing has been written yet."""
    refused = findings.refused
    nothing = "; nothing was written"
    listed = f"{REPORT} lists them all"
    if any(not item.reason.tolerable for item in refused):
        unsafe = tuple(item for item in refused if not item.reason.tolerable)
        text = f"the sources hold files that are not allowed{nothing}: {ingest_report.describe_rejections(unsafe)}"
        raise DataError(text, hint=listed)
    if findings.share > request.max_refused:
        share = f"{len(refused)} of {findings.files} files were rejected ({findings.share:.1%})"
        text = f"{share}, more than the allowed {request.max_refused:.1%}{nothing}: {ingest_report.describe_rejections(refused)}"
        raise DataError(text, hint=f"{listed}; {_remedy(request, findings)}")
    if not findings.added and not findings.present:
        left = f" ({sum(findings.left_out.values())} of other classes)" if findings.left_out else ""
        listed = "".join(f"; {text}" for text in findings.not_found if "of --classes" in text)
        text = f"there is no photo in {', '.join(str(source) for source in request.sources)}{left}{listed}{nothing}"
        raise DataError(text, hint=LAYOUT)
    bare = sorted({label for _, label in findings.empty} - labels)
    if bare:
        text = f"no photo for the class{'es' * (len(bare) > 1)} {', '.join(bare)}, whose folder exists{nothing}"
        raise DataError(text, hint="add photos, or delete the empty folder")


def _remedy(request: IngestRequest, findings: IngestFindings) -> str:
    unknown = sum(item.reason is RejectionReason.UNKNOWN_CLASS for item in findings.refused)
    if 2 * unknown > len(findings.refused):
        return f"photos of other classes go into a dataset of their own: --dataset NAME (this is {request.dataset!r})"
    counted = Counter(item.reason for item in findings.refused)
    reason, number = counted.most_common(1)[0]
    if findings.advice:
        return findings.advice
    if request.labels and 2 * sum(counted[each] for each in LABEL_FILE) > len(findings.refused):
        return f"paths in {request.labels} are relative to SOURCE; --max-refused 1 takes the photos that have a row"
    if reason is RejectionReason.MISPLACED and 2 * number > len(findings.refused):
        return LAYOUT
    if reason.rule and 2 * number > len(findings.refused):
        return f"if these photos are wanted, change {reason.rule} in {request.schema}, for {request.dataset!r} or in defaults"
    return "repair the files, or allow more rejections with --max-refused"


def _merge(name: str, index: Index | None, rows: Iterable[ScannedPhoto], shards: tuple[Shard, ...]) -> Index:
    """Return the index of the dataset with the new shards after the existing ones."""
    if index is not None and not shards:
        return index
    classes = tuple(sorted(_labels(rows, index) | set(index.classes if index else ())))
    new = Counter((row.split, row.label) for row in rows)
    counts = {
        split: {label: (index.counts[split].get(label, 0) if index else 0) + new[split, label] for label in classes}
        for split in SPLITS
    }
    merged = (*(index.shards if index else ()), *shards)
    return Index(1, name, classes, merged, counts, index.revision if index else None)
