"""Photos that a person names by digest, or lists in a file: CSV, or the labels.json of `orchard validate --labels`."""

from __future__ import annotations

import bisect
import csv
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchard import documents
from orchard.errors import DataError, IntegrityError
from orchard.formatting import shorten
from training.data.class_names import normalise_label
from training.data.ingest.scan import AllowedClasses

__all__ = ["ListedPhoto", "PhotoList", "named_photos", "read_list", "require_labels", "resolve", "select"]

MAX_BYTES = 1 << 28
SHOWN = 5
UNCHANGED = "; nothing was changed"
STORED = (
    "the digest is the SHA-256 of the stored bytes, the column sha256 of the shards and of lists, or of your file; of a photo "
    "that a release before this one encoded again, only the former"
)
_PREFIX = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class ListedPhoto:
    """A photo of a list.

    Attributes:
        digest: the SHA-256 (hex) of its bytes, or the first 8 digits or more.
        label: the class that the list gives it; None: none.
        before: the class that it had when the list was made; None: the list does not say.
    """

    digest: str
    label: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class PhotoList:
    """Photos, and whether they are only suggestions of a program, which a person has to choose from."""

    photos: tuple[ListedPhoto, ...]
    suggested: bool = False


def named_photos(digests: Iterable[str]) -> PhotoList:
    """Return the photos of these digests or beginnings of digests. Raises `DataError` where one is neither."""
    return PhotoList(tuple(ListedPhoto(_require_digest(digest, "")) for digest in digests))


def _require_digest(text: str, where: str) -> str:
    digest = text.strip().lower()
    if not _PREFIX.fullmatch(digest):
        raise DataError(
            f"{where}{text!r} is not the digest of a photo",
            hint="give the SHA-256 in hexadecimal digits, or its first 8 digits or more; labels.json and the page of "
            "`orchard validate --labels` have it, and `sha256sum` of your file prints it",
        )
    return digest


def read_list(path: Path) -> PhotoList:
    """Read a list of photos: CSV with the columns ``sha256`` and perhaps ``label``, or a labels.json.

    Raises:
        DataError: it is neither; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    photos = _suspects(text, path) if text.lstrip().startswith("{") else _rows(text, path)
    if not photos.photos:
        raise DataError(f"{path} lists no photo")
    return photos


def _suspects(text: str, path: Path) -> PhotoList:
    try:
        document = documents.parse(text.encode(), str(path), limit=MAX_BYTES)
        listed = tuple(
            ListedPhoto(_require_digest(item["digest"], f"{path}: "), item["suggested"], item["label"])
            for item in document["suspects"]
        )
    except (IntegrityError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a labels.json: {error!r}", hint="`orchard validate --labels` writes it; or give CSV"
        ) from error
    return PhotoList(listed, suggested=True)


def _rows(text: str, path: Path) -> PhotoList:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = [name.strip() for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    if "sha256" not in columns:
        raise DataError(
            f"{path} has no column 'sha256'; its first line is {text.partition(chr(10))[0][:80]!r}",
            hint="the first line names the columns: sha256,label or sha256",
        )
    return PhotoList(tuple(_row(row, f"{path}, line {rows.line_num}: ") for row in rows))


def _row(row: dict[str, Any], where: str) -> ListedPhoto:
    label = (row.get("label") or "").strip()
    return ListedPhoto(_require_digest(row["sha256"] or "", where), label or None)


def resolve(digests: Sequence[str], known: Iterable[str], where: str) -> dict[str, str]:
    """Return the full digest of each beginning of one.

    Args:
        digests: full digests and beginnings.
        known: full digests.
        where: what has the known ones, for the message.

    Raises:
        DataError: a beginning is none of a known digest, or of several.
    """
    ordered = sorted(set(known))
    found: dict[str, str] = {}
    unknown: list[str] = []
    ambiguous: list[str] = []
    for prefix in digests:
        first = bisect.bisect_left(ordered, prefix)
        matches = [digest for digest in ordered[first : first + 2] if digest.startswith(prefix)]
        if len(matches) == 1:
            found[prefix] = matches[0]
        else:
            (ambiguous if matches else unknown).append(prefix)
    problems = [f"no photo in {where} has the digest {shorten(unknown, SHOWN)}"] if unknown else []
    problems += (
        [f"several photos in {where} have digests that begin with {shorten(ambiguous, SHOWN)}"] if ambiguous else []
    )
    if problems:
        raise DataError(f"{'; '.join(problems)}{UNCHANGED}", hint="give more of the digest" if ambiguous else STORED)
    return found


def select(listed: PhotoList, digests: Sequence[str], where: Path) -> PhotoList:
    """Return the photos of a list that have one of these digests or beginnings of digests.

    Raises:
        DataError: one is not in the list, or begins several of its digests.
    """
    chosen = {photo.digest for photo in named_photos(digests).photos}
    full = set(resolve(sorted(chosen), [photo.digest for photo in listed.photos], str(where)).values())
    return PhotoList(tuple(photo for photo in listed.photos if photo.digest in full))


def require_labels(listed: PhotoList, label: str | None, known: Collection[str] | None, hint: str) -> PhotoList:
    """Return the photos, each with a class.

    Args:
        listed: the photos.
        label: the class of those to which the list gives none.
        known: the classes that are allowed; None: any.
        hint: what to do where one is not allowed.

    Raises:
        DataError: a photo has no class, or one that is not allowed or is not a valid name.
    """
    bare = [photo.digest for photo in listed.photos if photo.label is None]
    if bare and label is None:
        raise DataError(
            f"the list gives {shorten(bare, SHOWN)} no class{UNCHANGED}", hint="give --label, or a column label"
        )
    names = {photo.label or label or "" for photo in listed.photos}
    try:
        normal = {name: normalise_label(name) for name in sorted(names)}
    except ValueError as error:
        raise DataError(f"{error}{UNCHANGED}", hint="give another name") from error
    allowed = AllowedClasses(None, None if known is None else frozenset(known))
    problems = [text for name in sorted(set(normal.values())) if (text := allowed.problem(name))]
    if problems:
        raise DataError(f"{'; '.join(problems)}{UNCHANGED}", hint=hint)
    return PhotoList(tuple(replace(photo, label=normal[photo.label or label or ""]) for photo in listed.photos))
