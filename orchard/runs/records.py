"""What a run is about and how each of its steps ended: written once, so that a retried step finds its own result.

Two kinds of results lie here. A verb that must recognise its own work after a crash keeps what it said itself (`record`:
so does `orchard publish`). `orchard step`, which runs any verb as a step of a run, keeps how the step ended (`end_step`).
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from orchard import layout
from orchard.documents import FORMAT, MAX_BYTES, STRICT, canonical_json, decode, encode, parse
from orchard.errors import ConflictError, DataError, IntegrityError
from orchard.runs.steps import Kind
from orchard.settings import Settings
from orchard.store.conditional import create_once, get_or_none, swap_once
from orchard.store.objects import ObjectStore

__all__ = [
    "Artifact",
    "Outcome",
    "PinnedDataset",
    "Run",
    "StepRecord",
    "actor",
    "begin",
    "end_step",
    "ended_step",
    "failure",
    "read",
    "record",
    "recorded",
]

Outcome = Literal["done", "refused", "skipped", "superseded"]


@dataclass(frozen=True, slots=True)
class PinnedDataset:
    """The one version of a dataset that all steps of a run use, whatever becomes current meanwhile."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is about; fixed by its first step.

    Attributes:
        format: of the document, 1.
        run_id: the run's name.
        kind: which steps it has.
        dataset: what it learns from; None: nothing.
        model: the model's name.
        channel: the channel that it compares with and promotes to.
        day: the day that it works on, ``YYYY-MM-DD``; None: no particular one.
        started: when (RFC 3339, UTC).
        by: who.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    format: int
    run_id: str
    kind: Kind
    dataset: PinnedDataset | None
    model: str
    channel: str
    day: str | None
    started: str
    by: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files that a step left in the store: the archive's key, its SHA-256 and its bytes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class StepRecord:
    """How a step of a run ended.

    Attributes:
        outcome: ``done``; ``refused`` by the gate; ``skipped``: there was nothing to do; ``superseded`` by another run.
        reason: why it is not ``done``; else empty.
        started: when its last attempt began (RFC 3339, UTC).
        ended: when that ended.
        seconds: how long the verb itself took.
        result: the document that the verb gave.
        files: what it left for the steps after it.
        pages: the keys of its pages for people.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    outcome: Outcome
    reason: str
    started: str
    ended: str
    seconds: float
    result: dict[str, Any]
    files: Artifact | None
    pages: tuple[str, ...]


def actor(settings: Settings) -> str:
    """Return who acts, for manifests and histories: ORCHARD_ACTOR, else user@host."""
    if settings.actor:
        return settings.actor
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _read(body: bytes, run_id: str, verb: str, key: str) -> dict[str, Any]:
    found = parse(body, key)
    if (found.get("format"), found.get("run_id"), found.get("verb")) != (FORMAT, run_id, verb):
        raise IntegrityError(f"{key} is not what `{verb}` said in the run {run_id}")
    result = found.get("result")
    if not isinstance(result, dict) or set(found) != {"format", "run_id", "verb", "result"}:
        raise IntegrityError(f"{key} has not the fields of a run's result")
    return result


def begin(store: ObjectStore, run: Run) -> Run:
    """Fix what a run is about, unless an earlier step or attempt has; returns what is fixed.

    Raises:
        ConflictError: the run id belongs to a run of another kind, or about another day.
    """
    key = layout.run(run.run_id)
    found = _decode_run(create_once(store, key, canonical_json(encode(run))).body, run.run_id)
    if (found.kind, found.day) != (run.kind, run.day):
        other = f"{found.kind}{f' of {found.day}' if found.day else ''}"
        raise ConflictError(
            f"the run {run.run_id} is a run of another kind: {other}", hint="give this one another ORCHARD_RUN_ID"
        )
    return found


def read(store: ObjectStore, run_id: str) -> Run | None:
    """Return what a run is about, or None if it has not begun. Raises `IntegrityError`."""
    found = get_or_none(store, layout.run(run_id))
    return None if found is None else _decode_run(found.body, run_id)


def _decode_run(body: bytes, run_id: str) -> Run:
    key = layout.run(run_id)
    found = decode(Run, parse(body, key), key)
    if found.run_id != run_id:
        raise IntegrityError(f"{key} is about the run {found.run_id}")
    return found


def end_step(store: ObjectStore, run_id: str, verb: str, ended: StepRecord) -> StepRecord:
    """Keep how a step ended, once; returns what is kept: of two attempts at one time the first that ends counts.

    Only a refusal and a skip give way: to the step done again and accepted, which somebody has to ask for.

    Raises:
        DataError: the document is too large.
        ObjectChanged: two attempts took the place of one refusal or skip at the same time.
    """
    key = layout.run_step(run_id, verb)
    kept = decode(StepRecord, _read(_create(store, key, run_id, verb, encode(ended)), run_id, verb, key), key)
    if kept.outcome not in ("refused", "skipped") or ended.outcome != "done":
        return kept
    swap_once(store, key, _body(run_id, verb, encode(ended)), store.head(key).etag)
    return ended


def ended_step(store: ObjectStore, run_id: str, verb: str) -> StepRecord | None:
    """Return how a step of a run ended, or None if it has not. Raises `IntegrityError`."""
    key = layout.run_step(run_id, verb)
    found = get_or_none(store, key)
    return None if found is None else decode(StepRecord, _read(found.body, run_id, verb, key), key)


def failure(store: ObjectStore, run_id: str, verb: str) -> bytes | None:
    """Return what is kept of the last failure of a step, or None."""
    found = get_or_none(store, layout.run_failure(run_id, verb))
    return None if found is None else found.body


def _body(run_id: str, verb: str, document: Mapping[str, Any]) -> bytes:
    body = canonical_json({"format": FORMAT, "run_id": run_id, "verb": verb, "result": dict(document)})
    if len(body) > MAX_BYTES:
        raise DataError(f"the result of `{verb}` has {len(body)} bytes; at most {MAX_BYTES} are kept")
    return body


def _create(store: ObjectStore, key: str, run_id: str, verb: str, document: Mapping[str, Any]) -> bytes:
    return create_once(store, key, _body(run_id, verb, document)).body


def recorded(store: ObjectStore, run_id: str, verb: str) -> dict[str, Any] | None:
    """Return what `verb` said in the run, or None if it has not ended yet.

    Raises:
        IntegrityError: what lies there is no result of this step.
    """
    key = layout.run_result(run_id, verb)
    found = get_or_none(store, key)
    return None if found is None else _read(found.body, run_id, verb, key)


def record(store: ObjectStore, run_id: str, verb: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what `verb` said in the run, once; the same document again changes nothing.

    Raises:
        ConflictError: the step has said something else before; `recorded` gives it.
        DataError: the document has no JSON form or is too large.
    """
    key = layout.run_result(run_id, verb)
    said = _read(_create(store, key, run_id, verb, document), run_id, verb, key)
    if canonical_json(said) != canonical_json(dict(document)):
        raise ConflictError(
            f"`{verb}` in the run {run_id} has ended before with another result",
            hint="a run id belongs to one run; a retry of it uses the result that is there",
        )
    return said
