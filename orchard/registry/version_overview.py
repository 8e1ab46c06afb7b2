"""Versions as people look at them: what the manifest, the report, the channels and the notes say, read at once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from orchard.documents import encode
from orchard.errors import IntegrityError
from orchard.registry.annotations import Annotation, Annotations, list_annotated, tags_of
from orchard.registry.cards import list_cards
from orchard.registry.channels import Channel
from orchard.registry.comparison import ParamChange, compare_params
from orchard.registry.known_channels import known_channels
from orchard.registry.manifest import Manifest
from orchard.registry.pointers import ChannelPointer
from orchard.registry.version_figures import SourceFigures, figures_of
from orchard.registry.version_report import VersionReport, read_report
from orchard.registry.versions import ModelVersions

__all__ = ["VersionDetails", "VersionSummary", "read_pointers", "read_version", "summarize_versions"]

_THREADS = 8


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """A version in a list.

    Attributes:
        version: its number.
        manifest: None: it is not trusted.
        channels: those that point to it.
        card: the key of its model card, None: it has none.
        tags: its tags, sorted; None: a record is not trusted.
        problem: why the manifest or the tags are not trusted; empty: both are.
    """

    version: int
    manifest: Manifest | None
    channels: tuple[str, ...]
    card: str | None
    tags: tuple[str, ...] | None
    problem: str

    @property
    def document(self) -> dict[str, Any]:
        """The version for programs."""
        shared = {
            "channels": list(self.channels),
            "card": self.card,
            "tags": None if self.tags is None else [*self.tags],
        }
        if self.manifest is None:
            return {"version": self.version, "error": self.problem, **shared}
        return {**self.manifest.payload(), **shared}


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """A version in full.

    Attributes:
        summary: what the list has.
        manifest: the manifest.
        report: None: the version was published without one.
        figures: by source.
        records: notes and changes of tags, oldest first.
        pointers: the channels that point to it.
        previous: the version before it; None: there is none, or it is not trusted.
        param_changes: what differs from the previous version; None: not known.
    """

    summary: VersionSummary
    manifest: Manifest
    report: VersionReport | None
    figures: dict[str, SourceFigures]
    records: tuple[Annotation, ...]
    pointers: tuple[ChannelPointer, ...]
    previous: Manifest | None
    param_changes: tuple[ParamChange, ...] | None

    @property
    def notes(self) -> tuple[Annotation, ...]:
        """The notes, oldest first."""
        return tuple(record for record in self.records if record.kind == "note")

    @property
    def document(self) -> dict[str, Any]:
        """The version for programs."""
        report = self.report
        changes = self.param_changes
        return {
            **self.summary.document,
            "size": self.manifest.size,
            "manifest_sha256": self.manifest.document_sha256,
            "signature": {"key_id": self.manifest.signed_by, "trusted": True},
            "figures": {name: encode(part) for name, part in self.figures.items()},
            "gate": {**encode(self.manifest.gate), **(encode(report.gate) if report and report.gate else {})},
            "params": report.params if report else None,
            "params_changed": None if changes is None else [encode(change) for change in changes],
            "previous": self.previous.version if self.previous else None,
            "pointers": [encode(pointer) for pointer in self.pointers],
            "notes": [encode(record) for record in self.notes],
            "tag_changes": [encode(record) for record in self.records if record.kind != "note"],
        }


def read_pointers(registry: ModelVersions) -> list[ChannelPointer]:
    """Return the pointers of all channels that point to a version. Raises `IntegrityError`."""
    return [pointer for name in known_channels(registry) if (pointer := Channel(registry, name).read())]


def summarize_versions(
    registry: ModelVersions, numbers: Iterable[int], pointers: Iterable[ChannelPointer]
) -> list[VersionSummary]:
    """Read versions for a list, several at a time; one that is not trusted says so and hides no other.

    Raises:
        StoreError: the store failed.
    """
    cards, annotated = list_cards(registry.store, registry.model), list_annotated(registry.store, registry.model)
    known = tuple(pointers)

    def read(number: int) -> VersionSummary:
        channels = tuple(pointer.channel for pointer in known if pointer.version == number)
        summary = VersionSummary(number, None, channels, cards.get(number), (), "")
        try:
            if number in annotated:
                summary = replace(summary, tags=tags_of(Annotations(registry, number).read()))
        except IntegrityError as error:
            summary = replace(summary, tags=None, problem=error.message)
        try:
            return replace(summary, manifest=registry.manifest(number))
        except IntegrityError as error:
            return replace(summary, problem=error.message)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, numbers))


def read_version(registry: ModelVersions, number: int) -> VersionDetails:
    """Read a version in full.

    Raises:
        DataError: there is no such version.
        IntegrityError: its manifest, its report, a note or a channel is not trusted.
        StoreError: the store failed.
    """
    manifest = registry.manifest(number)
    report = read_report(registry, manifest)
    pointers = tuple(pointer for pointer in read_pointers(registry) if pointer.version == number)
    records = Annotations(registry, number).read()
    card = list_cards(registry.store, registry.model).get(number)
    channels = tuple(pointer.channel for pointer in pointers)
    previous, changes = _compare_with_previous(registry, manifest, report)
    return VersionDetails(
        VersionSummary(number, manifest, channels, card, tags_of(records), ""),
        manifest,
        report,
        figures_of(manifest, report),
        records,
        pointers,
        previous,
        changes,
    )


def _compare_with_previous(
    registry: ModelVersions, manifest: Manifest, report: VersionReport | None
) -> tuple[Manifest | None, tuple[ParamChange, ...] | None]:
    if manifest.version == 1:
        return None, None
    try:
        previous = registry.manifest(manifest.version - 1)
        if previous.params_digest == manifest.params_digest:
            return previous, ()
        before = read_report(registry, previous)
    except IntegrityError:
        return None, None
    if report is None or before is None:
        return previous, None
    return previous, compare_params(before.params, report.params)
