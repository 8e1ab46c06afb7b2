"""Looks at the test photos: which candidates were evaluated on them before.

Each look makes the test photos worth less: who chooses the best of many candidates by the same photos fits them. So every
evaluation of another candidate is recorded in the workspace, and the number is part of the evaluation, the page and the
model card. The same candidate again is no new look.

A look is a folder of its own, ``.orchard/looks/<dataset digest>/<number>``, created under the next free number and never
changed. So simultaneous evaluations cannot overwrite each other's, and an interrupted one leaves all earlier looks.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchard.disk import writing_to
from orchard.documents import FORMAT, canonical_json, parse
from orchard.errors import IntegrityError

__all__ = ["Look", "count_known", "describe_looks", "look_sentence", "record_look"]

LOOK = "look.json"
LISTED = 200
"""The newest looks that an evaluation lists."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look.

    Attributes:
        number: 1, 2, 3 … by dataset digest.
        candidate: the digest of the evaluated model; empty: the record is damaged. It counts all the same.
        params_digest: of the parameters that it was trained with.
        when: the time (RFC 3339, UTC).
    """

    number: int
    candidate: str
    params_digest: str
    when: str


def _read(folder: Path) -> Look:
    number, path = int(folder.name), folder / LOOK
    try:
        document = parse(path.read_bytes(), str(path))
        return Look(number, *(str(document[name]) for name in ("candidate", "params_digest", "when")))
    except (OSError, KeyError, IntegrityError):
        return Look(number, "", "", "")


def _read_all(place: Path) -> list[Look]:
    names = [folder for folder in place.glob("[0-9]*") if folder.name.isdecimal()]
    return sorted(map(_read, names), key=lambda look: look.number)


def _create(folder: Path, body: bytes) -> None:
    """Create a look as a whole, unless there is one: a folder cannot be renamed to one that holds a file."""
    temporary = folder.with_name(f".{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        _write(temporary / LOOK, body)
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def record_look(folder: Path, dataset_digest: str, candidate: str, params_digest: str) -> list[Look]:
    """Record that a candidate has been evaluated on the test photos of a dataset.

    Args:
        folder: the folder of all looks.
        dataset_digest: the dataset's; it identifies the test photos.
        candidate: the digest of the candidate's model.
        params_digest: of its parameters.

    Returns:
        All looks at these photos, by number; one of them is the candidate's.

    Raises:
        DiskError: the record cannot be written.
    """
    place = folder / dataset_digest
    document = {"format": FORMAT, "dataset": dataset_digest, "candidate": candidate, "params_digest": params_digest}
    with writing_to(place):
        place.mkdir(parents=True, exist_ok=True)
        while True:
            looks = _read_all(place)
            if any(look.candidate == candidate for look in looks):
                return looks
            number = looks[-1].number + 1 if looks else 1
            when = datetime.now(UTC).isoformat(timespec="seconds")
            _create(place / f"{number:06d}", canonical_json({**document, "number": number, "when": when}) + b"\n")


def describe_looks(looks: Iterable[Look], candidate: str) -> dict[str, Any]:
    """Return the part ``looks`` of an evaluation.

    Returns:
        ``number`` (the candidate's own), ``total`` and ``models``: the newest looks, each with ``number``, ``candidate``,
        ``params_digest`` and ``when``.
    """
    listed = list(looks)
    own = next(look.number for look in listed if look.candidate == candidate)
    return {"number": own, "total": len(listed), "models": [asdict(look) for look in listed[-LISTED:]]}


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def count_known(looks: Mapping[str, Any], published: Iterable[str]) -> int:
    """Return how many models are known to have looked: those in ``looks``, and `published`, the digests of versions."""
    listed = {str(look["candidate"]) for look in looks["models"]}
    return int(looks["total"]) + len(set(published) - listed)


def look_sentence(looks: Mapping[str, Any], known: int = 0) -> str:
    """Return what a person must know about ``looks``: which look this was, and what many looks mean.

    Args:
        looks: the part of an evaluation.
        known: the number of `count_known`, where the registry was asked.
    """
    number, total = int(looks["number"]), int(looks["total"])
    text = f"the {_ordinal(number)} model looked at these test photos"
    if total > number:
        text += f"; {total} have by now"
    if known > total:
        text += f", as this workspace has recorded; with the versions of the registry {known} are known to have looked"
    if max(total, known) > 1:
        text += ". Who chooses among models by the test photos fits them: expect less on new photos"
    return text
