"""Versions of a dataset: shards, classes, number of photos, and the text with which DVC pulls exactly these shards.

The commit is the creation of ``versions/<n>.json``, once for each number; ``current.json`` follows it. If a writer was
killed between the two, the next writer moves the pointer to that version first: a crash never blocks a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchard import layout
from orchard.documents import FORMAT, canonical_json, decode, digest, encode, parse, strict_dataclass
from orchard.errors import ConflictError, DataError, IntegrityError, ObjectChanged, ObjectNotFound, StoreError
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import ObjectStore

__all__ = ["MAX_INDEX_BYTES", "CommitResult", "Dataset", "DatasetVersion"]

MAX_INDEX_BYTES = 32 << 20
"""The largest index: it has some 250 bytes for each shard of 32 MB, so it is enough for four terabytes of photos."""

RECENT = 20
"""How many of the newest versions a retry searches for the one that its run has made."""


@strict_dataclass
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
        created: the time, for people (RFC 3339, UTC).
        created_by: the actor.
        run_id: the run that made it, None outside a run.
        why: the reason that a person gave for corrected labels or removed photos; None, and not in the document: none.
    """

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
    why: str | None = None


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A dataset version, and whether this call made it."""

    version: DatasetVersion
    created: bool


@strict_dataclass
class _Pointer:
    version: int
    digest: str


def _decode(body: bytes, name: str, version: int, key: str) -> DatasetVersion:
    document = decode(DatasetVersion, parse(body, key, limit=MAX_INDEX_BYTES), key)
    if (document.name, document.version) != (name, version):
        raise IntegrityError(f"{key} is the document of version {document.version} of {document.name!r}")
    if digest(document.index) != document.digest:
        raise IntegrityError(f"{key} was changed: the digest of its index is not {document.digest}")
    return document


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset in a store.

    Attributes:
        store: the store.
        name: the dataset's name.
    """

    store: ObjectStore
    name: str

    def version(self, number: int) -> DatasetVersion:
        """Return one version.

        Raises:
            DataError: there is no such version.
            IntegrityError: its document is invalid.
        """
        key = layout.dataset_version(self.name, number)
        try:
            return _decode(self.store.get(key).body, self.name, number, key)
        except ObjectNotFound as error:
            raise DataError(
                f"the dataset {self.name!r} has no version {number} in {self.store.name}", hint=self._existing()
            ) from error

    def _existing(self) -> str:
        """Return which versions there are, as a hint."""
        with suppress(StoreError):
            if numbers := self.versions():
                return f"name one of its versions, {min(numbers)} to {max(numbers)}; without a number, the current one is used"
        return "`orchard ingest SOURCE…` makes its first version; ORCHARD_DATASET selects another dataset"

    def current(self) -> DatasetVersion | None:
        """Return the current version, or None if nothing has been ingested yet. Raises `IntegrityError`."""
        pointer, _ = self._pointer()
        if pointer is None:
            return None
        version = self.version(pointer.version)
        if version.digest != pointer.digest:
            key = layout.dataset_current(self.name)
            raise IntegrityError(f"{key} has another digest than version {version.version}")
        return version

    def require(self, number: int | None = None) -> DatasetVersion:
        """Return one version; None: the current one.

        Raises:
            DataError: there is no such version, or nothing has been ingested yet.
            IntegrityError: its document is invalid.
        """
        version = self.current() if number is None else self.version(number)
        if version is None:
            raise DataError(
                f"{self.store.name} has no dataset {self.name!r}",
                hint="`orchard ingest SOURCE…` makes its first version; ORCHARD_DATASET selects another dataset",
            )
        return version

    def versions(self) -> list[int]:
        """Return the numbers of all versions, ascending."""
        stats = self.store.list(layout.dataset_versions(self.name))
        numbers = (layout.version_of_dataset_key(stat.key) for stat in stats)
        return sorted(number for number in numbers if number is not None)

    def find(self, digest: str) -> DatasetVersion | None:
        """Return the newest version that has this digest, or None.

        The current version needs two requests, another one needs a search.
        """
        pointer, _ = self._pointer()
        if pointer is not None and pointer.digest == digest:
            return self.version(pointer.version)
        return self._newest(self.versions(), lambda version: version.digest == digest)

    def made_by(self, run_id: str) -> DatasetVersion | None:
        """Return the version that a run made, if it is among the newest ones; None otherwise."""
        return self._newest(self.versions()[-RECENT:], lambda version: version.run_id == run_id)

    def commit(
        self,
        index: Mapping[str, Any],
        dvc_text: str,
        *,
        parent: int | None,
        created_by: str,
        validation: str | None = None,
        run_id: str | None = None,
        why: str | None = None,
    ) -> CommitResult:
        """Make a new current version, once its shards are in the DVC remote.

        If the current version has the same digest already, that one is returned and nothing is written.

        Args:
            index: the document ``index.json``; its digest is the version's identity.
            dvc_text: the text of the `.dvc` file.
            parent: the version that was current when `index` was made (None: there was none). If another version is
                current now, nothing is written: a commit never undoes another.
            created_by: the actor.
            validation: SHA-256 of the validation report.
            run_id: the run that this belongs to.
            why: the reason for corrections.

        Raises:
            ConflictError: another commit came after `parent`.
            DataError: the documents are too large.
        """
        new = DatasetVersion(
            format=FORMAT,
            name=self.name,
            version=(parent or 0) + 1,
            digest=digest(index),
            index=dict(index),
            parent=parent,
            dvc=dvc_text,
            validation=validation,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            created_by=created_by,
            run_id=run_id,
            why=why,
        )
        pointer, etag = self._pointer()
        if pointer is not None and pointer.digest == new.digest:
            return CommitResult(self.version(pointer.version), created=False)
        current = pointer.version if pointer else None
        if current != parent:
            raise self._outdated(parent, current)
        return self._commit(new, etag)

    def _commit(self, new: DatasetVersion, etag: str | None) -> CommitResult:
        document = encode(new)
        if new.why is None:  # an Orchard of before reads such a version
            del document["why"]
        body = canonical_json(document)
        if len(body) > MAX_INDEX_BYTES:
            raise DataError(
                f"the index of {self.name!r} has {len(body)} bytes; at most {MAX_INDEX_BYTES} fit into one version"
            )
        key = layout.dataset_version(self.name, new.version)
        stored = create_once(self.store, key, body).body
        version = new if stored == body else _decode(stored, self.name, new.version, key)
        self._advance(version, etag)
        if version.digest != new.digest:
            raise self._outdated(new.parent, version.version)
        return CommitResult(version, created=stored == body)

    def _advance(self, to: DatasetVersion, etag: str | None) -> None:
        """Move the pointer to the version after the one that was read, unless another writer has moved it."""
        body = canonical_json({"version": to.version, "digest": to.digest})
        try:
            swap_once(self.store, layout.dataset_current(self.name), body, etag)
        except ObjectChanged:
            now, _ = self._pointer()
            if now is None or now.version < to.version:
                raise

    def _pointer(self) -> tuple[_Pointer | None, str | None]:
        key = layout.dataset_current(self.name)
        stored = get_or_none(self.store, key)
        return (None, None) if stored is None else (decode(_Pointer, parse(stored.body, key), key), stored.etag)

    def _newest(self, numbers: list[int], accept: Callable[[DatasetVersion], bool]) -> DatasetVersion | None:
        return next((version for number in reversed(numbers) if accept(version := self.version(number))), None)

    def _outdated(self, parent: int | None, current: int | None) -> ConflictError:
        return ConflictError(
            f"somebody else committed to the dataset {self.name!r}: version {current or 'none'} is current, "
            f"this change started from version {parent or 'none'}; nothing was written",
            hint="`orchard pull` the current version and run the same command again",
        )
