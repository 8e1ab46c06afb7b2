"""Notes and tags of versions: signed records beside the manifest, each created once and never changed or deleted.

A manifest never changes, so what people learn about a version later is kept apart from it, in
``versions/<n>/annotations/<k>.json``. The numbers k are dense: a record is created under the next free number, and a
writer that finds the number taken reads again and decides again. So no record that was acknowledged is lost, and the tags
of a version are those of its records in order. A record names the SHA-256 of the manifest that it is about.

Prunes delete blobs only: a version that is pruned keeps its notes and tags.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from orchard import layout
from orchard.channel_names import DEFAULT_CHANNELS, RESERVED
from orchard.documents import FORMAT, canonical_json, decode, encode, strict_dataclass
from orchard.errors import ConflictError, DataError, IntegrityError
from orchard.registry.channels import ChangeIntent
from orchard.registry.versions import ModelVersions
from orchard.signing import read_signed, sign
from orchard.store.conditional import create_once
from orchard.store.objects import ObjectStore

__all__ = [
    "MAX_RECORDS",
    "MAX_TAG",
    "MAX_TEXT",
    "Annotation",
    "AnnotationChange",
    "Annotations",
    "list_annotated",
    "tags_of",
]

MAX_RECORDS = 1000
"""The most records of one version."""

MAX_TEXT = 4000
"""The longest note, and the longest reason of a tag, in characters."""

MAX_TAG = 63
"""The longest tag, in characters."""

_LOST_RACES = 64
_BREAKS = {"\n", "\t"}
"""The control characters that a note may have."""

Kind = Literal["note", "tag", "untag"]


@strict_dataclass
class Annotation:
    """A note, a tag, or the removal of a tag.

    Attributes:
        format: of the document, 1.
        model: the model's name.
        version: the version that it is about.
        number: 1, 2, 3 …: its place among the version's records.
        manifest_sha256: SHA-256 of the bytes of that version's manifest.
        kind: ``note``, ``tag`` or ``untag``.
        text: the note, or the tag's name.
        who: the actor.
        why: the reason of a tag or its removal, None: none was given.
        run_id: the run that wrote it, None outside a run.
        created: the time, for people (RFC 3339, UTC).
    """

    format: int
    model: str
    version: int
    number: int
    manifest_sha256: str
    kind: Kind
    text: str
    who: str
    why: str | None
    run_id: str | None
    created: str


@dataclass(frozen=True, slots=True)
class AnnotationChange:
    """All records of a version after a change, and the one that this call wrote; None: it was there already."""

    records: tuple[Annotation, ...]
    written: Annotation | None

    @property
    def tags(self) -> tuple[str, ...]:
        """The version's tags, sorted."""
        return tags_of(self.records)


def tags_of(records: tuple[Annotation, ...]) -> tuple[str, ...]:
    """Return the tags that a version has after its records, sorted."""
    tags: set[str] = set()
    for record in records:
        if record.kind == "tag":
            tags.add(record.text)
        elif record.kind == "untag":
            tags.discard(record.text)
    return tuple(sorted(tags))


@dataclass(frozen=True, slots=True)
class Annotations:
    """The notes and tags of one version.

    Attributes:
        registry: the model in its store, and the keys.
        version: the version's number.
    """

    registry: ModelVersions
    version: int

    def read(self) -> tuple[Annotation, ...]:
        """Return all records, oldest first.

        Raises:
            IntegrityError: one is missing, unsigned, signed by a key that is not trusted, changed, or of another version.
        """
        keys: dict[int, str] = {}
        for stat in self.registry.store.list(layout.version_annotations(self.registry.model, self.version)):
            if number := layout.number_of_annotation_key(stat.key):
                keys[number] = stat.key
        missing = sorted(set(range(1, max(keys, default=0) + 1)) - set(keys))
        if missing:
            raise IntegrityError(
                f"the notes and tags of version {self.version} of {self.registry.model!r} lack number {missing[0]}",
                hint="restore models/ from the backup",
            )
        return tuple(self._read(number) for number in sorted(keys))

    def add_note(self, text: str, intent: ChangeIntent) -> AnnotationChange:
        """Write a note about the version.

        The same note again (of the same run; outside a run, of the same actor) changes nothing, so it can be repeated
        after a crash.

        Args:
            text: up to `MAX_TEXT` characters; line breaks and tabs are the only control characters.
            intent: the actor and the run; its reason is not used: the note is one.

        Raises:
            DataError: there is no such version, the text breaks a rule, or the version has `MAX_RECORDS` records.
            IntegrityError: the manifest or a record is invalid.
            ConflictError: others kept writing at the same time.
            StoreError: the store failed; whether the note was written is unknown: repeat the call.
        """
        return self._write("note", _checked_text(text, "a note"), intent)

    def add_tag(self, name: str, intent: ChangeIntent) -> AnnotationChange:
        """Give the version a tag; nothing changes if it has it. Raises as `add_note`.

        Args:
            name: 1 to `MAX_TAG` visible characters without white space and commas.
            intent: the actor, the reason (may be empty) and the run.
        """
        return self._write("tag", _new_tag(name, self.registry.channels), intent)

    def remove_tag(self, name: str, intent: ChangeIntent) -> AnnotationChange:
        """Take a tag away from the version; the records keep that it had it. Raises as `add_note`.

        Raises:
            DataError: the version never had the tag.
        """
        return self._write("untag", _checked_tag(name), intent)

    def _read(self, number: int) -> Annotation:
        key = layout.version_annotation(self.registry.model, self.version, number)
        return self._decode(self.registry.store.get(key).body, number, key)

    def _decode(self, body: bytes, number: int, key: str) -> Annotation:
        record = decode(Annotation, read_signed(body, self.registry.trusted, key), key)
        if (record.model, record.version, record.number) != (self.registry.model, self.version, number):
            raise IntegrityError(f"{key} is the record {record.number} of version {record.version} of {record.model!r}")
        return record

    def _write(self, kind: Kind, text: str, intent: ChangeIntent) -> AnnotationChange:
        """Create the record under the next free number, unless the records say that there is nothing to do."""
        key = self.registry.signing_key()
        sha256 = self.registry.manifest(self.version).document_sha256
        why = _checked_text(intent.why, "a reason") if kind != "note" and intent.why.strip() else None
        records = self.read()
        for _ in range(_LOST_RACES):
            if self._is_done(records, kind, text, intent):
                return AnnotationChange(records, None)
            if len(records) >= MAX_RECORDS:
                raise DataError(
                    f"version {self.version} of {self.registry.model!r} has {len(records)} notes and changes of tags; "
                    "no more are kept"
                )
            number, created = len(records) + 1, datetime.now(UTC).isoformat(timespec="microseconds")
            new = Annotation(
                FORMAT, self.registry.model, self.version, number, sha256, kind, text, intent.who, why,
                intent.run_id, created,
            )  # fmt: skip
            body = canonical_json(sign(encode(new), key))
            place = layout.version_annotation(self.registry.model, self.version, number)
            stored = create_once(self.registry.store, place, body).body
            if stored == body:
                return AnnotationChange((*records, new), new)
            records = (*records, self._decode(stored, number, place))
        raise ConflictError(
            f"{_LOST_RACES} other notes and tags of version {self.version} were written first",
            hint="run the same command again",
        )

    def _is_done(self, records: tuple[Annotation, ...], kind: Kind, text: str, intent: ChangeIntent) -> bool:
        """Whether the change was made before, by this step of the run or by anybody whose change has the same effect."""
        same = [record for record in records if (record.kind, record.text) == (kind, text)]
        if intent.run_id is not None and any(record.run_id == intent.run_id for record in same):
            return True
        if kind == "note":
            return intent.run_id is None and any(record.who == intent.who for record in same)
        has = text in tags_of(records)
        if kind == "untag" and not has and not same:
            raise DataError(
                f"version {self.version} of {self.registry.model!r} has no tag {text!r}",
                hint=f"its tags: {', '.join(tags_of(records)) or 'none'}",
            )
        return has == (kind == "tag")


def _bad_character(text: str, allowed: set[str]) -> str | None:
    """The first character that nobody can see or that commands a terminal, as an escape, or None."""
    for char in text:
        if char not in allowed and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            return char.encode("unicode_escape").decode("ascii")
    return None


def _checked_text(text: str, what: str) -> str:
    text = unicodedata.normalize("NFC", text.strip())
    if not text:
        raise DataError(f"{what} needs a text; it is kept permanently")
    if len(text) > MAX_TEXT:
        raise DataError(f"{what} has {len(text)} characters; at most {MAX_TEXT} are kept", hint="link to a longer text")
    if bad := _bad_character(text, _BREAKS):
        raise DataError(f"{what} has the character {bad}; control and invisible characters are refused")
    return text


def _checked_tag(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    expected = f"expected 1 to {MAX_TAG} visible characters without white space and commas"
    if not 1 <= len(name) <= MAX_TAG:
        raise DataError(f"a tag of {len(name)} characters: {expected}")
    if bad := _bad_character(name, set()):
        raise DataError(f"a tag with the character {bad}: {expected}")
    if any(char.isspace() or char == "," for char in name):
        raise DataError(f"{name!r} is not a valid tag: {expected}")
    return name


def _new_tag(name: str, channels: Collection[str]) -> str:
    """Return a valid tag that does not look like a channel or a version. Raises `DataError`."""
    name = _checked_tag(name)
    if name in channels or name in DEFAULT_CHANNELS or name in RESERVED or name.isdecimal():
        raise DataError(
            f"{name!r} is not a valid tag: it would look like a channel or a version", hint="choose another name"
        )
    return name


def list_annotated(store: ObjectStore, model: str) -> set[int]:
    """Return the versions of a model that have notes or tags, or had some."""
    keys = (stat.key for stat in store.list(layout.versions(model)))
    return {version for key in keys if (version := layout.version_of_annotation_key(key)) is not None}
