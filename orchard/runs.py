"""What each step of a run said: written once, so that a retried step finds its own result instead of doing it again."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Any

from orchard import layout
from orchard.commits import create_once, get_or_none
from orchard.documents import FORMAT, MAX_BYTES, canonical_json, parse
from orchard.errors import ConflictError, DataError, IntegrityError
from orchard.settings import Settings
from orchard.store.objects import ObjectStore

__all__ = ["actor", "record", "recorded"]


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
    body = canonical_json({"format": FORMAT, "run_id": run_id, "verb": verb, "result": dict(document)})
    if len(body) > MAX_BYTES:
        raise DataError(f"the result of `{verb}` has {len(body)} bytes; at most {MAX_BYTES} are kept")
    found = create_once(store, key, body)
    if found.body != body and canonical_json(_read(found.body, run_id, verb, key)) != canonical_json(dict(document)):
        raise ConflictError(
            f"`{verb}` in the run {run_id} has ended before with another result",
            hint="a run id belongs to one run; a retry of it uses the result that is there",
        )
    return _read(found.body, run_id, verb, key)
