"""Versions of a dataset: which shards, which classes, how many photos, and the text with which DVC pulls exactly those.

The commit point is the creation of ``versions/<n>.json``, once for each number; ``current.json`` follows it. Whoever
finds a version that the pointer has not reached (its writer was killed in between) moves the pointer on, so a crash
never blocks the next writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from orchard import layout
from orchard.documents import FORMAT, MAX_BYTES, STRICT, canonical_json, decode, digest, encode, parse
from orchard.errors import ConflictError, DataError, IntegrityError, ObjectChanged, ObjectNotFound
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import ObjectStore

__all__ = ["CommitResult", "DatasetVersion", "commit", "current", "find", "made_by", "read", "versions"]

RECENT = 20
"""Among how many versions a retry looks for the one that its run has made."""


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One version of a dataset.

    Attributes:
        format: of the document, 1.
        name: the dataset's.
        version: 1, 2, 3 …
        digest: SHA-256 of the canonical JSON of `index`.
        index: the document ``data/<name>/index.json``.
        parent: the version that this one was made from, None for the first.
        dvc: the text of ``data/<name>.dvc``.
        validation: SHA-256 of the validation report, None if there was none.
        created: when, for people (RFC 3339, UTC).
        created_by: who.
        run_id: the run that made it, None outside a run.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    name: str
    version: int
    digest: str
    index: dict[str, Any]
    parent: int | None
    dvc: str
    validation: str | None
    created: str
    created_by: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A dataset version, and whether this call made it."""

    version: DatasetVersion
    created: bool


@dataclass(frozen=True, slots=True)
class _Pointer:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    version: int
    digest: str


def _pointer(store: ObjectStore, name: str) -> tuple[_Pointer | None, str | None]:
    key = layout.dataset_current(name)
    found = get_or_none(store, key)
    return (None, None) if found is None else (decode(_Pointer, parse(found.body, key), key), found.etag)


def _decode(body: bytes, name: str, version: int, key: str) -> DatasetVersion:
    found = decode(DatasetVersion, parse(body, key), key)
    if (found.name, found.version) != (name, version):
        raise IntegrityError(f"{key} says that it is version {found.version} of {found.name!r}")
    if digest(found.index) != found.digest:
        raise IntegrityError(f"{key} was changed: its index has not the digest {found.digest}")
    return found


def read(store: ObjectStore, name: str, version: int) -> DatasetVersion:
    """Return one version.

    Raises:
        DataError: there is no such version.
        IntegrityError: its document is not what it must be.
    """
    key = layout.dataset_version(name, version)
    try:
        return _decode(store.get(key).body, name, version, key)
    except ObjectNotFound as error:
        raise DataError(f"the dataset {name!r} has no version {version} in {store.name}") from error


def current(store: ObjectStore, name: str) -> DatasetVersion | None:
    """Return the current version, or None if nothing has been ingested yet. Raises `IntegrityError`."""
    pointer, _ = _pointer(store, name)
    if pointer is None:
        return None
    found = read(store, name, pointer.version)
    if found.digest != pointer.digest:
        raise IntegrityError(f"{layout.dataset_current(name)} names another digest than version {found.version} has")
    return found


def versions(store: ObjectStore, name: str) -> list[int]:
    """Return the numbers of all versions, ascending."""
    found = (layout.version_of_dataset_key(stat.key) for stat in store.list(layout.dataset_versions(name)))
    return sorted(number for number in found if number is not None)


def find(store: ObjectStore, name: str, digest: str) -> DatasetVersion | None:
    """Return the newest version that has this digest, or None; the current one costs two requests, others a search."""
    pointer, _ = _pointer(store, name)
    if pointer is not None and pointer.digest == digest:
        return read(store, name, pointer.version)
    for number in reversed(versions(store, name)):
        found = read(store, name, number)
        if found.digest == digest:
            return found
    return None


def made_by(store: ObjectStore, name: str, run_id: str) -> DatasetVersion | None:
    """Return the version that a run made, if it is among the newest ones; None otherwise."""
    for number in reversed(versions(store, name)[-RECENT:]):
        found = read(store, name, number)
        if found.run_id == run_id:
            return found
    return None


def _advance(store: ObjectStore, name: str, to: DatasetVersion, etag: str | None) -> None:
    """Move the pointer to a version that follows the one that was read; nothing to do if somebody was quicker."""
    body = canonical_json({"version": to.version, "digest": to.digest})
    try:
        swap_once(store, layout.dataset_current(name), body, etag)
    except ObjectChanged:
        now, _ = _pointer(store, name)
        if now is None or now.version < to.version:
            raise


def _made(
    name: str,
    number: int,
    index: Mapping[str, Any],
    dvc_text: str,
    parent: int | None,
    validation: str | None,
    created_by: str,
    run_id: str | None,
) -> DatasetVersion:
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    return DatasetVersion(
        FORMAT, name, number, digest(index), dict(index), parent, dvc_text, validation, created, created_by, run_id
    )


def commit(
    store: ObjectStore,
    name: str,
    index: Mapping[str, Any],
    dvc_text: str,
    *,
    parent: int | None,
    created_by: str,
    validation: str | None = None,
    run_id: str | None = None,
) -> CommitResult:
    """Make a new current version, once its shards are in the DVC remote.

    If the current version has the same digest already, that one is returned and nothing is written.

    Args:
        store: where.
        name: the dataset's.
        index: the document ``index.json``; its digest is the version's identity.
        dvc_text: the text of the `.dvc` file.
        parent: the version that was current when `index` was made (None: there was none). If another one is current
            by now, nothing is written: a commit never undoes another.
        created_by: who.
        validation: SHA-256 of the validation report.
        run_id: the run that this belongs to.

    Raises:
        ConflictError: somebody else committed since `parent`.
        DataError: the documents are too large.
    """
    made = _made(name, (parent or 0) + 1, index, dvc_text, parent, validation, created_by, run_id)
    pointer, etag = _pointer(store, name)
    if pointer is not None and pointer.digest == made.digest:
        return CommitResult(read(store, name, pointer.version), created=False)
    at = pointer.version if pointer else None
    if at != parent:
        raise _behind(name, parent, at)
    return _commit(store, made, etag)


def _commit(store: ObjectStore, made: DatasetVersion, etag: str | None) -> CommitResult:
    body = canonical_json(encode(made))
    if len(body) > MAX_BYTES:
        raise DataError(f"the index of {made.name!r} has {len(body)} bytes; at most {MAX_BYTES} fit into one version")
    key = layout.dataset_version(made.name, made.version)
    found = create_once(store, key, body).body
    there = made if found == body else _decode(found, made.name, made.version, key)
    _advance(store, made.name, there, etag)
    if there.digest != made.digest:
        raise _behind(made.name, made.parent, there.version)
    return CommitResult(there, created=found == body)


def _behind(name: str, parent: int | None, at: int | None) -> ConflictError:
    return ConflictError(
        f"somebody else committed to the dataset {name!r}: version {at or 'none'} is current, "
        f"this work started from version {parent or 'none'}; nothing was written",
        hint="`orchard pull` the current version and run the same command again",
    )
