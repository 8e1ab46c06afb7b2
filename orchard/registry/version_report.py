"""The report of a version, for programs: parameters, figures, confused classes, and what the gate found.

A manifest has what readers must know before they serve a version. What people compare later is in this document beside it:
created once, after the manifest, signed, and never changed or deleted. Versions of before have none.
"""

from __future__ import annotations

from typing import Any

from orchard import layout
from orchard.documents import canonical_json, decode, encode, strict_dataclass
from orchard.errors import IntegrityError
from orchard.registry.manifest import Manifest
from orchard.registry.versions import ModelVersions
from orchard.signing import read_signed, sign
from orchard.store.conditional import create_once, get_or_none

__all__ = ["GateReport", "SliceReport", "VersionReport", "keep_report", "read_report"]


@strict_dataclass
class SliceReport:
    """The figures of one source.

    Attributes:
        n: test photos.
        figures: ``accuracy``, ``top3``, ``macro_f1``, ``unsure`` and ``sure_accuracy``, each ``value``, ``low`` and
            ``high``; what was not measured is left out.
        classes: by class: photos, those that are right, photos that are taken for it. Classes without any are left out.
        confusion: truth, prediction and photos of each pair of classes, the most frequent first.
        more_pairs: how many pairs there was no room for.
    """

    n: int
    figures: dict[str, dict[str, float]]
    classes: dict[str, tuple[int, int, int]]
    confusion: tuple[tuple[str, str, int], ...]
    more_pairs: int


@strict_dataclass
class GateReport:
    """What the gate found.

    Attributes:
        checks: how many there were.
        failed: the sentences of those that failed, at most as many as fit.
        warnings: what no threshold forbids.
        compared: with which version the candidate was compared.
    """

    checks: int
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    compared: str


@strict_dataclass
class VersionReport:
    """The report of a version.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        version: its number.
        manifest_sha256: SHA-256 of the bytes of the version's manifest.
        params: the parameters that it was trained with.
        test_photos: SHA-256 of the list of test photos: with the same ones, figures can be compared; None: not known.
        photos: photos of the dataset by split, class and source; None: not known.
        slices: by source.
        gate: None: the verdict at hand was not the manifest's.
    """

    format: int
    model: str
    version: int
    manifest_sha256: str
    params: dict[str, Any]
    test_photos: str | None
    photos: dict[str, dict[str, dict[str, int]]] | None
    slices: dict[str, SliceReport]
    gate: GateReport | None


def keep_report(registry: ModelVersions, report: VersionReport) -> VersionReport:
    """Sign and store the report of a version unless it has one; return the one that it has afterwards. May be repeated.

    Raises:
        IntegrityError: the version has a report that is not trusted.
        StoreError: the store failed.
    """
    key = layout.version_report(report.model, report.version)
    body = canonical_json(sign(encode(report), registry.signing_key()))
    return _decode(registry, create_once(registry.store, key, body).body, report.version, key)


def read_report(registry: ModelVersions, manifest: Manifest) -> VersionReport | None:
    """Return the report of a version; None: it was published without one.

    Raises:
        IntegrityError: unsigned, signed by a key that is not trusted, changed, or of another manifest.
    """
    key = layout.version_report(manifest.model, manifest.version)
    stored = get_or_none(registry.store, key)
    if stored is None:
        return None
    report = _decode(registry, stored.body, manifest.version, key)
    if report.manifest_sha256 != manifest.document_sha256:
        raise IntegrityError(f"{key} is the report of another manifest")
    return report


def _decode(registry: ModelVersions, body: bytes, version: int, key: str) -> VersionReport:
    report = decode(VersionReport, read_signed(body, registry.trusted, key), key)
    if (report.model, report.version) != (registry.model, version):
        raise IntegrityError(f"{key} is the report of version {report.version} of {report.model!r}")
    return report
