"""The check of a store before its first use: it answers, honours conditional writes, and gives each identity its rights.

No object that a program reads is touched. A right to write or to delete is tested on a key that nobody writes: a conditional
write on it must fail, and deleting what is absent changes nothing. Only the test of conditional writes leaves an object.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from orchard import layout
from orchard.access_rights import DELETES, IDENTITIES
from orchard.documents import canonical_json
from orchard.errors import ObjectChanged, ObjectNotFound, StoreDenied, StoreError
from orchard.store.answers import NO_RIGHT
from orchard.store.clouds import bucket_of, cloud_of
from orchard.store.objects import ObjectStore
from orchard.store.probe import check_put_if_absent, check_swap

__all__ = ["AccessResult", "check_access"]

Outcome = Literal["ok", "failed", "not checked"]
_ABSENT = '"00000000000000000000000000000000"'
"""An ETag that no object has."""

_CONDITIONS = ("If-None-Match: *", "If-Match")
_NO_PLACE = "the key may write to no folder"
_ACTIONS = ("list", "get", "put", "delete")


@dataclass(frozen=True, slots=True)
class AccessResult:
    """The result of one check.

    Attributes:
        check: what was checked: ``answers``, ``list``, ``get``, ``put``, ``delete``, ``If-None-Match: *`` or ``If-Match``.
        where: the folder of the bucket; empty: the bucket.
        needed_by: the identities that need it.
        outcome: ``ok``, ``failed`` or ``not checked``.
        code: the cause of a failure, as of `StoreError`.
        reason: what happened; empty for ``ok``.
        remedy: what to do; empty for ``ok``.
    """

    check: str
    where: str
    needed_by: tuple[str, ...]
    outcome: Outcome = "ok"
    code: str = ""
    reason: str = ""
    remedy: str = ""


def check_access(store: ObjectStore, model: str, dataset: str, identities: Iterable[str]) -> Iterator[AccessResult]:
    """Check a store with the key that it is opened with; yields each result as soon as it is known.

    Args:
        store: the store.
        model: the model's name, for the folders to check.
        dataset: the dataset's name, likewise.
        identities: those whose work the key is for, of `IDENTITIES`.
    """
    names = tuple(identities)
    rights = _needed(names)
    places = {folder: layout.checked_place(folder, model, dataset) for _, folder in rights}
    writers = tuple(
        name for name in names if {"Read", "Write"} <= IDENTITIES[name].keys()
    )  # a condition is checked by reading
    answered = _answers(store, next(iter(places.values())), names)
    yield answered
    if answered.outcome == "failed":
        yield from (_skipped(check, places[folder], needed) for (check, folder), needed in rights.items())
        yield from (_skipped(check, "", writers) for check in (_CONDITIONS if writers else ()))
        return
    writable: list[str] = []
    for (check, folder), needed in rights.items():
        result = _check_right(store, check, places[folder], needed)
        if check == "put" and result.outcome == "ok":
            writable.append(folder)
        yield result
    if writers:
        chosen = min(writable, key=_by_commits, default=None)
        yield from _check_conditions(store, None if chosen is None else places[chosen], writers)


def _needed(identities: tuple[str, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the identities that need each right, by action and folder; the actions on a folder follow each other."""
    needed: dict[tuple[str, str], tuple[str, ...]] = {}
    for name in identities:
        rights = IDENTITIES[name]
        for folder in dict.fromkeys(folder for folders in rights.values() for folder in folders):
            for check, folders in (
                ("list", rights.get("List", ())),
                ("get", rights.get("Read", ())),
                ("put", rights.get("Write", ())),
                ("delete", DELETES.get(name, ())),
            ):
                if folder in folders:
                    needed[check, folder] = (*needed.get((check, folder), ()), name)
    folders_in_order = list(dict.fromkeys(folder for _, folder in needed))
    return dict(
        sorted(needed.items(), key=lambda item: (folders_in_order.index(item[0][1]), _ACTIONS.index(item[0][0])))
    )


def _answers(store: ObjectStore, place: str, identities: tuple[str, ...]) -> AccessResult:
    """Check that the store knows the bucket and the key, whatever the key's rights are."""
    try:
        store.get(layout.never_written(place))
    except ObjectNotFound:
        pass
    except StoreError as error:
        if not _is_missing_right(error):
            return _failure("answers", "", identities, error, error.hint)
    return AccessResult("answers", "", identities)


def _is_missing_right(error: StoreError) -> bool:
    return isinstance(error, StoreDenied) and error.code in NO_RIGHT


def _failure(check: str, where: str, needed: tuple[str, ...], error: StoreError, remedy: str) -> AccessResult:
    return AccessResult(check, where, needed, "failed", error.code, error.message, remedy)


def _skipped(check: str, where: str, needed: tuple[str, ...]) -> AccessResult:
    return AccessResult(check, where, needed, "not checked", reason="the store does not answer")


def _check_right(store: ObjectStore, check: str, place: str, needed: tuple[str, ...]) -> AccessResult:
    key = layout.never_written(place)
    requests: dict[str, Callable[[], object]] = {
        "list": lambda: next(store.list(place), None),
        "get": lambda: store.get(key),
        "put": lambda: store.swap(key, canonical_json({"probe": uuid.uuid4().hex}), _ABSENT),
        "delete": lambda: store.delete(key),
    }
    try:
        requests[check]()
    except (ObjectNotFound, ObjectChanged):  # the answer that shows the right
        pass
    except StoreError as error:
        remedy = _right(store, check, place) if _is_missing_right(error) else error.hint
        return _failure(check, place, needed, error, remedy)
    return AccessResult(check, place, needed)


def _right(store: ObjectStore, check: str, place: str) -> str:
    """Return which right to give to the key."""
    bucket = bucket_of(store.settings) if store.settings else "the bucket"
    return cloud_of(store.settings).rights[check].format(bucket=bucket, place=place)


def _by_commits(folder: str) -> tuple[bool, bool]:
    """Sort folders: first those whose commits need conditional writes most."""
    return folder != "models", folder != "datasets"


def _check_conditions(store: ObjectStore, place: str | None, needed: tuple[str, ...]) -> Iterator[AccessResult]:
    """Check put-if-absent and compare-and-swap in a folder that the key may write; None: there is none."""
    if place is None:
        yield from (AccessResult(check, "", needed, "not checked", reason=_NO_PLACE) for check in _CONDITIONS)
        return
    key = layout.place_probe(place)
    requests: tuple[Callable[[], object], ...] = (
        lambda: check_put_if_absent(store, key),
        lambda: check_swap(store, key, store.get(key)),
    )
    for check, request in zip(_CONDITIONS, requests, strict=True):
        try:
            request()
        except StoreError as error:
            yield _failure(check, place, needed, error, error.hint)
        else:
            yield AccessResult(check, place, needed)
