"""Records of runs and of their steps: written once, so that a retried step finds its own result.

There are two kinds of results. A verb that must recognise its own work after a crash records its result itself (`record`;
`orchard publish` does). `orchard step`, which runs any verb as a step of a run, records how the step ended (`end_step`).
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from orchard import layout
from orchard.documents import FORMAT, MAX_BYTES, canonical_json, decode, encode, parse, strict_dataclass
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
    "error_text",
    "fail_step",
    "failure",
    "local_actor",
    "now",
    "read",
    "record",
    "recorded",
]

Outcome = Literal["done", "refused", "skipped", "superseded"]

MAX_MESSAGE = 4000
"""The letters of a failure's message that are kept."""


@strict_dataclass
class PinnedDataset:
    """The dataset version that all steps of a run use, even if another becomes current meanwhile."""

    name: str
    version: int
    digest: str


@strict_dataclass
class Run:
    """The inputs of a run; its first step writes them.

    Attributes:
        format: of the document, 1.
        run_id: the run's name.
        kind: the kind of run, which decides its steps.
        dataset: the dataset to train on; None: none.
        model: the model's name.
        channel: the channel that it compares with and promotes to.
        day: the day of its photos, ``YYYY-MM-DD``; None: no particular one.
        started: the time (RFC 3339, UTC).
        by: the actor.
    """

    format: int
    run_id: str
    kind: Kind
    dataset: PinnedDataset | None
    model: str
    channel: str
    day: str | None
    started: str
    by: str


@strict_dataclass
class Artifact:
    """The files of a step in the store, as one archive: its key, its SHA-256 and its size in bytes."""

    key: str
    sha256: str
    bytes: int


@strict_dataclass
class StepRecord:
    """How a step of a run ended.

    Attributes:
        outcome: ``done``; ``refused`` by the gate; ``skipped``: there was nothing to do; ``superseded`` by another run.
        reason: why it is not ``done``; else empty.
        started: the start of its last attempt (RFC 3339, UTC).
        ended: the end of that attempt.
        seconds: the duration of the verb itself.
        result: the verb's JSON document.
        files: its artifact for the steps after it.
        pages: the keys of its pages for people.
    """

    outcome: Outcome
    reason: str
    started: str
    ended: str
    seconds: float
    result: dict[str, Any]
    files: Artifact | None
    pages: tuple[str, ...]


def actor(settings: Settings) -> str:
    """Return the actor for manifests and histories: ORCHARD_ACTOR, else user@host."""
    return settings.actor or local_actor()


def local_actor() -> str:
    """Return the actor where no settings are read, as for pages: ORCHARD_ACTOR of the environment, else user@host."""
    if named := os.environ.get("ORCHARD_ACTOR", "").strip():
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _read(body: bytes, run_id: str, verb: str, key: str) -> dict[str, Any]:
    document = parse(body, key)
    if (document.get("format"), document.get("run_id"), document.get("verb")) != (FORMAT, run_id, verb):
        raise IntegrityError(f"{key} is not the result of `{verb}` in the run {run_id}")
    result = document.get("result")
    if not isinstance(result, dict) or set(document) != {"format", "run_id", "verb", "result"}:
        raise IntegrityError(f"{key} needs the fields format, run_id, verb and result, and no others")
    return result


def begin(store: ObjectStore, run: Run) -> Run:
    """Record a run, unless an earlier step or attempt has; return the recorded one.

    Raises:
        ConflictError: the run id belongs to a run of another kind, or about another day.
    """
    key = layout.run(run.run_id)
    recorded = _decode_run(create_once(store, key, canonical_json(encode(run))).body, run.run_id)
    if (recorded.kind, recorded.day) != (run.kind, run.day):
        other = f"{recorded.kind}{f' of {recorded.day}' if recorded.day else ''}"
        raise ConflictError(
            f"the run {run.run_id} is a run of another kind: {other}", hint="give this one another ORCHARD_RUN_ID"
        )
    return recorded


def read(store: ObjectStore, run_id: str) -> Run | None:
    """Return the record of a run, or None if it has not begun. Raises `IntegrityError`."""
    stored = get_or_none(store, layout.run(run_id))
    return None if stored is None else _decode_run(stored.body, run_id)


def _decode_run(body: bytes, run_id: str) -> Run:
    key = layout.run(run_id)
    run = decode(Run, parse(body, key), key)
    if run.run_id != run_id:
        raise IntegrityError(f"{key} is the record of the run {run.run_id}")
    return run


def end_step(store: ObjectStore, run_id: str, verb: str, ended: StepRecord) -> StepRecord:
    """Record how a step ended, once; return the record: of two simultaneous attempts the first that ends counts.

    Only the record of a refused or skipped step is replaced, if a later attempt is ``done``.

    Raises:
        DataError: the document is too large.
        ObjectChanged: two attempts replaced one refused or skipped record at the same time.
    """
    key = layout.run_step(run_id, verb)
    body = _body(run_id, verb, encode(ended))
    recorded = decode(StepRecord, _read(create_once(store, key, body).body, run_id, verb, key), key)
    if recorded.outcome not in ("refused", "skipped") or ended.outcome != "done":
        return recorded
    swap_once(store, key, body, store.head(key).etag)
    return ended


def ended_step(store: ObjectStore, run_id: str, verb: str) -> StepRecord | None:
    """Return the record of a step, or None if it has not ended. Raises `IntegrityError`."""
    key = layout.run_step(run_id, verb)
    stored = get_or_none(store, key)
    return None if stored is None else decode(StepRecord, _read(stored.body, run_id, verb, key), key)


def now() -> str:
    """Return the time for a record (RFC 3339, UTC)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def error_text(lines: Sequence[str]) -> str:
    """Return a verb's output from its last ``error:`` line on, or its last lines."""
    for start in range(len(lines) - 1, -1, -1):
        if lines[start].startswith("error: "):
            return "\n".join(lines[start:])
    return "\n".join(lines[-10:])


def fail_step(store: ObjectStore, run_id: str, verb: str, exit_code: int, message: str) -> None:
    """Record why the last attempt of a step failed. Raises `StoreError`."""
    document = {
        "format": FORMAT,
        "run_id": run_id,
        "verb": verb,
        "when": now(),
        "exit_code": exit_code,
        "message": message[:MAX_MESSAGE],
    }
    store.put(layout.run_failure(run_id, verb), canonical_json(document))


def failure(store: ObjectStore, run_id: str, verb: str) -> bytes | None:
    """Return the document of a step's last failure, or None."""
    stored = get_or_none(store, layout.run_failure(run_id, verb))
    return None if stored is None else stored.body


def _body(run_id: str, verb: str, document: Mapping[str, Any]) -> bytes:
    body = canonical_json({"format": FORMAT, "run_id": run_id, "verb": verb, "result": dict(document)})
    if len(body) > MAX_BYTES:
        raise DataError(f"the result of `{verb}` has {len(body)} bytes; at most {MAX_BYTES} are recorded")
    return body


def recorded(store: ObjectStore, run_id: str, verb: str) -> dict[str, Any] | None:
    """Return the result of `verb` in a run, or None if it has none yet. Raises `IntegrityError`."""
    key = layout.run_result(run_id, verb)
    stored = get_or_none(store, key)
    return None if stored is None else _read(stored.body, run_id, verb, key)


def record(store: ObjectStore, run_id: str, verb: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Record the result of `verb` in a run, once; the same document again changes nothing.

    Raises:
        ConflictError: another result is recorded.
        DataError: the document has no JSON form or is too large.
    """
    key = layout.run_result(run_id, verb)
    result = _read(create_once(store, key, _body(run_id, verb, document)).body, run_id, verb, key)
    if canonical_json(result) != canonical_json(dict(document)):
        raise ConflictError(
            f"`{verb}` in the run {run_id} has ended before with another result",
            hint="a run id belongs to one run; a retry uses the recorded result",
        )
    return result
