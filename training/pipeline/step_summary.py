"""A step's summary: one line of JSON in a file, which the scheduler shows to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchard.errors import OrchardError
from orchard.runs.records import StepRecord
from orchard.runs.steps import STEPS

__all__ = ["failure_text", "links", "write"]

MAX_LETTERS = 1500
"""The longest text of a summary: a pod's termination message has room for 4 KB."""


def links(verb: str, run_id: str, record: StepRecord, day: str | None = None) -> dict[str, str]:
    """Return the store keys of a step's pages, by the text of their link."""
    keys = {page: page.key.format(run=run_id, day=day) for page in STEPS[verb].pages}
    exists = {page: key in record.pages if page.file else record.outcome == "done" for page, key in keys.items()}
    return {page.name: key for page, key in keys.items() if exists[page]}


def failure_text(error: OrchardError) -> str:
    """Return an error's message and hint in one line."""
    text = f"{error.message} → {error.hint}" if error.hint else error.message
    return text.removeprefix("error: ").replace("\n  fix: ", " → ")


def write(path: Path | None, verb: str, code: int, text: str, keys: Mapping[str, str] | None = None) -> None:
    """Write the summary to `path`, if there is one. That it cannot be written changes nothing."""
    if path is None:
        return
    line = " ".join(text.split())
    document = {
        "verb": verb,
        "exit_code": code,
        "said": line if len(line) <= MAX_LETTERS else f"{line[: MAX_LETTERS - 1]}…",
        "links": dict(keys or {}),
    }
    try:
        path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError:
        return
