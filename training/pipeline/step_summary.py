"""A step's last word: one line of JSON in a file, for the scheduler that shows it to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchard import layout
from orchard.errors import OrchardError
from orchard.runs.records import StepRecord

__all__ = ["end_with", "failure", "links"]

MOST = 1500
"""Letters of what is said: a pod's termination message has room for 4 KB."""

_PAGES = {"validate": "dataset", "evaluate": "evaluation", "gate": "gate", "publish": "gate", "ingest": "report"}


def links(verb: str, run_id: str, ended: StepRecord, day: str | None = None) -> dict[str, str]:
    """The objects that a person may want to look at after a step, by what they are."""
    found = {_PAGES[verb]: ended.pages[0]} if verb in _PAGES and ended.pages else {}
    if ended.outcome == "done" and verb in {"publish", "promote"}:
        found["version"] = layout.run_step(run_id, "publish")
    if ended.outcome == "done" and verb == "batch" and day:
        found["predictions"] = layout.batch_output(day, "index.html")
    return found


def failure(error: OrchardError) -> str:
    """What an error says, in one line."""
    said = f"{error.message} → {error.hint}" if error.hint else error.message
    return said.removeprefix("error: ").replace("\n  fix: ", " → ")


def end_with(path: Path | None, verb: str, code: int, said: str, keys: Mapping[str, str] | None = None) -> None:
    """Write the last word, if anybody wants it; that it cannot be written changes nothing."""
    if path is None:
        return
    line = " ".join(said.split())
    document = {
        "verb": verb,
        "exit_code": code,
        "said": line if len(line) <= MOST else f"{line[: MOST - 1]}…",
        "links": dict(keys or {}),
    }
    try:
        path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError:
        return
