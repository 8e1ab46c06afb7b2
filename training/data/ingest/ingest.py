"""`orchard ingest`: sources → new shards → the dataset folder. All of it or nothing."""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from orchard.cli.output import Output
from orchard.errors import DataError
from training.data import staging
from training.data.ingest import ingest_report
from training.data.ingest.deduplicate import Deduplication, select
from training.data.ingest.ingest_report import IngestFindings
from training.data.ingest.scan import ClassCounts, ScannedPhoto, SourceScan, scan
from training.data.ingest.shard_writer import write_shards
from training.data.ingest.sources import PhotoPlacement, PhotoSource, walk
from training.data.rejections import RejectionReason
from training.data.schema import SCHEMA, SchemaRules, load
from training.data.shards import SPLITS, Index, Shard, iterate

__all__ = ["DATA", "MAX_REFUSED", "REPORT", "IngestRequest", "IngestResult", "ingest"]

DATA = Path("data")
REPORT = Path("artifacts") / "ingest" / "refused.json"
MAX_REFUSED = 0.02
"""The largest share of refused files, where nobody says another."""


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What to ingest.

    Attributes:
        sources: folders, tar archives, photos; or sources that are no paths.
        dataset: the dataset's name.
        classes: take only these; None: all.
        source: the name of the source for all photos; None: their folder's, as the schema maps it.
        split: the split of photos whose folders name none.
        label: the class of photos whose folders name none.
        max_refused: the largest share of refused files, 0 to 1.
        schema: the file with the rules.
    """

    sources: tuple[Path | PhotoSource, ...]
    dataset: str
    classes: tuple[str, ...] | None = None
    source: str | None = None
    split: str | None = None
    label: str | None = None
    max_refused: float = MAX_REFUSED
    schema: Path = SCHEMA


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What was done.

    Attributes:
        index: the dataset as it is now.
        shards_added: how many shards are new.
        findings: what became of the files.
    """

    index: Index
    shards_added: int
    findings: IngestFindings


def ingest(request: IngestRequest, out: Output) -> IngestResult:
    """Bring photos into the dataset folder. The caller holds `staging.locked`.

    Raises:
        DataError: too much was refused, a class is empty, or there are no photos. Nothing has changed then.
        IntegrityError: the dataset that is there is damaged.
        OrchardError: the disk is full. Nothing has changed then.
        ParamsError: the schema does not fit.
    """
    schema = load(request.schema)
    rules = schema.rules(request.dataset)
    folder = DATA / request.dataset
    with warnings.catch_warnings(), staging.disk_full_explained(DATA), staging.staged(DATA, request.dataset) as stage:
        warnings.filterwarnings("ignore", module="PIL")  # odd metadata of one photo is not our user's concern
        index = staging.sweep(folder)
        present = _present(folder) if index else {}
        placing = PhotoPlacement(request.split, request.label, rules.bytes)
        with (stage / "spool").open("w+b") as spool:
            found = scan(
                chain.from_iterable(walk(source, placing) for source in request.sources),
                classes=_classes(request, rules, index),
                rules=rules,
                name_source=lambda name: request.source or schema.source(name),
                present=present,
                spool=spool,
                progress=lambda decoded: out.track(decoded, "decoding photos"),
            )
            chosen = select(found.rows, present)
            findings = _findings(found, chosen)
            _write_report(request.dataset, findings)
            _judge(request, findings, _labels(chosen.rows, index))
            shards = write_shards(stage, chosen.rows, spool, len(index.shards) if index else 0)
        merged = _merge(request.dataset, index, chosen.rows, shards)
        if shards:
            staging.install(stage, folder, merged)
    return IngestResult(merged, len(shards), findings)


def _present(folder: Path) -> dict[str, tuple[str, str]]:
    """What the dataset holds: `pixels_sha256` → (split, class). Its shards are verified on the way."""
    present: dict[str, tuple[str, str]] = {}
    for batch in iterate(folder, columns=["pixels_sha256", "split", "label"], check=True, rows=65_536):
        pixels, splits, labels = (column.to_pylist() for column in batch.columns)
        present.update(zip(pixels, zip(splits, labels, strict=True), strict=True))
    return present


def _classes(request: IngestRequest, rules: SchemaRules, index: Index | None) -> ClassCounts:
    """Which classes may be: the schema's; else those of the dataset that is there and what is asked for by name."""
    wanted = None
    if request.classes is not None:
        wanted = frozenset(unicodedata.normalize("NFC", label.strip()) for label in request.classes)
    known = None if rules.known is None else frozenset(rules.known)
    if known is None and index is not None:
        known = frozenset(index.classes) | (wanted or frozenset())
    classes = ClassCounts(wanted, known)
    asked = [*(wanted or ()), *([request.label] if request.label else [])]
    wrong = [text for label in sorted(asked) if (text := classes.judge(label))]
    if wrong:
        hint = f"{request.schema} lists the classes of {request.dataset!r}" if rules.known else "name it with --classes"
        raise DataError("; ".join(wrong), hint=hint)
    return classes


def _findings(found: SourceScan, chosen: Deduplication) -> IngestFindings:
    usable = {(row.split, row.label) for row in found.rows}
    return IngestFindings(
        files=found.files,
        added=len(chosen.rows),
        present=chosen.present,
        refused=tuple(sorted((*found.refused, *chosen.refused), key=lambda item: (item.path, item.reason))),
        changed=tuple(sorted(found.changed)),
        left_out=dict(sorted(found.left_out.items())),
        empty=tuple(sorted(found.folders - usable)),
        ignored=len(found.ignored),
    )


def _write_report(dataset: str, findings: IngestFindings) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    draft = REPORT.with_name(f".{REPORT.name}.draft")
    text = json.dumps(ingest_report.document(dataset, findings), ensure_ascii=False, indent=1) + "\n"
    draft.write_text(text, encoding="utf-8")
    draft.replace(REPORT)


def _labels(rows: Iterable[ScannedPhoto], index: Index | None) -> set[str]:
    """The classes that have photos."""
    there = index.counts.values() if index else ()
    return {row.label for row in rows} | {label for counts in there for label, number in counts.items() if number}


def _judge(request: IngestRequest, findings: IngestFindings, labels: set[str]) -> None:
    """Refuse the whole ingest if what was found is no dataset. Nothing has been written yet."""
    refused = findings.refused
    nothing = "; nothing was written"
    listed = f"{REPORT} lists them all"
    if any(not item.reason.tolerable for item in refused):
        unsafe = tuple(item for item in refused if not item.reason.tolerable)
        text = f"the sources hold what no source of photos should{nothing}: {ingest_report.describe_refusals(unsafe)}"
        raise DataError(text, hint=listed)
    if findings.share > request.max_refused:
        share = f"{len(refused)} of {findings.files} files were refused ({findings.share:.1%})"
        text = f"{share}, more than the {request.max_refused:.1%} that may be{nothing}: {ingest_report.describe_refusals(refused)}"
        raise DataError(text, hint=f"{listed}; {_remedy(request, findings)}")
    if not findings.added and not findings.present:
        left = f" ({sum(findings.left_out.values())} of other classes)" if findings.left_out else ""
        text = f"there is no photo in {', '.join(str(source) for source in request.sources)}{left}{nothing}"
        raise DataError(text, hint="a source holds <split>/<class>/<photo>, with splits such as train and test")
    bare = sorted({label for _, label in findings.empty} - labels)
    if bare:
        text = f"no photo for the class{'es' * (len(bare) > 1)} {', '.join(bare)}, whose folder is there{nothing}"
        raise DataError(text, hint="add photos, or remove the empty folder")


def _remedy(request: IngestRequest, findings: IngestFindings) -> str:
    unknown = sum(item.reason is RejectionReason.UNKNOWN_CLASS for item in findings.refused)
    if 2 * unknown > len(findings.refused):
        return f"photos of other classes go into a dataset of their own: --dataset NAME (this is {request.dataset!r})"
    return "put them right, or let more pass with --max-refused"


def _merge(name: str, index: Index | None, rows: Iterable[ScannedPhoto], shards: tuple[Shard, ...]) -> Index:
    """The index of the dataset with the new shards behind those that are there."""
    if index is not None and not shards:
        return index
    classes = tuple(sorted(_labels(rows, index) | set(index.classes if index else ())))
    new = Counter((row.split, row.label) for row in rows)
    counts = {
        split: {label: (index.counts[split].get(label, 0) if index else 0) + new[split, label] for label in classes}
        for split in SPLITS
    }
    return Index(1, name, classes, (*(index.shards if index else ()), *shards), counts)
