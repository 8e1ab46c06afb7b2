"""A correction: a photo, the label that a person says it has, and the answer that it contradicts. It is kept, never trusted.

Its record and its photo are objects of their own, which nobody signs and nothing reads but `orchard corrections`: a dataset
changes only when a person has looked at what was exported, and ingests it.
"""

from __future__ import annotations

import re
import unicodedata

from orchard import layout
from orchard.documents import FORMAT, canonical_json, decode, digest, encode, parse, strict_dataclass
from orchard.errors import DataError, IntegrityError
from orchard.store.conditional import create_once
from orchard.store.objects import ObjectStore

__all__ = ["MAX_LETTERS", "Correction", "checked_label", "correction_id", "keep_correction", "read_correction"]

MAX_LETTERS = 100
"""The longest label that a person may give a photo."""

_MAX_BYTES = 240
"""Of a label in UTF-8: it becomes the name of a folder."""

_DIGITS = 32
_CLIENT = re.compile(r"[0-9a-f]{16}")
_SALT = re.compile(r"[0-9a-f]{8}")


@strict_dataclass
class Correction:
    """The record of a correction.

    Attributes:
        format: of the document.
        id: of photo, label and client: the same correction again has the same id.
        model: the model's name.
        photo: the SHA-256 of the stored photo.
        label: the label that the person says.
        known: whether the version has a class of this name; otherwise the person wrote a name of their own.
        answered: the label that the version answered.
        version: the version.
        channel: the channel by which it answered; empty: unknown.
        at: the time (RFC 3339, UTC).
        client: a keyed digest of who sent it, which is another one after a while.
        salt: which key it was: only digests with the same one can be compared.
    """

    format: int
    id: str
    model: str
    photo: str
    label: str
    known: bool
    answered: str
    version: int
    channel: str
    at: str
    client: str
    salt: str


def checked_label(text: str) -> str:
    """Return a label as it is kept: in one Unicode form, without white space around it.

    Raises:
        DataError: it is empty or too long, has control characters or slashes, or does not begin with a letter or a digit.
    """
    label = " ".join(unicodedata.normalize("NFC", text).split())
    if not 0 < len(label) <= MAX_LETTERS or len(label.encode("utf-8", "replace")) > _MAX_BYTES:
        raise DataError(f"A label has 1 to {MAX_LETTERS} characters; this one has {len(label)}")
    if not label.isprintable() or "/" in label or "\\" in label or not label[0].isalnum():
        raise DataError("A label begins with a letter or a digit and has printable characters, without slashes")
    return label


def correction_id(photo: str, label: str, client: str) -> str:
    """Return the id of the correction of a photo by a client."""
    return digest({"photo": photo, "label": label, "client": client})[:_DIGITS]


def keep_correction(store: ObjectStore, correction: Correction, photo: bytes, media_type: str) -> bool:
    """Store a correction and its photo, unless they are there. May be repeated.

    Args:
        store: the store.
        correction: the record.
        photo: the bytes that `correction.photo` is the SHA-256 of.
        media_type: of the photo.

    Returns:
        Whether it is new.

    Raises:
        StoreError: the store failed.
    """
    key = layout.correction(correction.model, correction.photo, correction.id)
    if store.exists(key):
        return False
    create_once(store, layout.corrected_photo(correction.model, correction.photo), photo, media_type)
    body = canonical_json(encode(correction))
    return create_once(store, key, body, "application/json").body == body


def read_correction(store: ObjectStore, key: str) -> Correction:
    """Read the record under a key, which whoever may write to the folder has written.

    Raises:
        IntegrityError: it is not a valid record, or not one of this key.
        StoreError: the store failed.
    """
    found = decode(Correction, parse(store.get(key).body, key), key)
    try:
        expected = layout.correction(found.model, found.photo, correction_id(found.photo, found.label, found.client))
        valid = key == expected and found.format == FORMAT and checked_label(found.label) == found.label
    except DataError as error:
        raise IntegrityError(f"{key} is not a valid correction: {error.message}") from error
    if not (valid and _CLIENT.fullmatch(found.client) and _SALT.fullmatch(found.salt) and found.version > 0):
        raise IntegrityError(f"{key} is not a valid correction: its fields contradict each other or the key")
    if not (found.answered.isprintable() and found.channel.isprintable() and found.at.isprintable()):
        raise IntegrityError(f"{key} is not a valid correction: it has control characters")
    return found
