"""A step's last word: one line of JSON in a file, for the scheduler that shows it to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchard.errors import OrchardError
from orchard.runs.records import StepRecord
from orchard.runs.steps import STEPS

__all__ = ["end_with", "failure", "links"]

MOST = 1500
"""Letters of what is said: a pod's termination message has room for 4 KB."""


def links(verb: str, run_id: str, ended: StepRecord, day: str | None = None) -> dict[str, str]:
    """The objects that a person may want to see after a step, by the text of their link."""
    keys = {page: page.key.format(run=run_id, day=day) for page in STEPS[verb].pages}
    there = {page: key in ended.pages if page.file else ended.outcome == "done" for page, key in keys.items()}
    return {page.name: key for page, key in keys.items() if there[page]}


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
