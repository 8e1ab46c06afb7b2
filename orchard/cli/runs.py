"""`orchard runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchard.cli.verb import verb
from orchard.reporter import Reporter

if TYPE_CHECKING:
    from orchard.runs.summary import RunSummary


@verb(
    group="Operate",
    examples=(
        "orchard runs\n"
        "orchard runs --kind retrain --limit 5\n"
        "orchard runs nightly-2026-11-24\n"
        "orchard runs --json | jq '.runs[] | select(.state == \"refused at gate\") | .reason'"
    ),
)
@click.argument("run_id", required=False)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="The number of runs, the newest first."
)
@click.option(
    "--kind", type=click.Choice(["retrain", "ingest", "batch", "housekeeping"]), help="Only these.  [default: all]"
)
def runs(reporter: Reporter, *, run_id: str | None, limit: int, kind: str | None) -> None:
    """List runs with their gate verdicts, or show the steps of one run.

    All data is read from the store, whatever program started a run. A run that is at a step works on it, waits for its
    next attempt, or was abandoned.
    """
    from orchard import settings
    from orchard.runs.summary import read_entries
    from orchard.store import open_store

    store = open_store(settings.load())
    entries = read_entries(store, limit, run_id, kind)
    text = f"{store.name} has no runs"
    if entries:
        text = _one(reporter, entries[0]) if run_id else _all(reporter, entries)
    reporter.result({"runs": [_document(entry) for entry in entries]}, text)


def _document(entry: RunSummary) -> dict[str, Any]:
    from orchard.documents import encode

    derived = {name: getattr(entry, name) for name in ("state", "reason", "verdict", "version", "seconds")}
    steps = {name: encode(ended) for name, ended in entry.steps.items()}
    return {**encode(entry.run), **derived, "steps": steps, "failures": entry.failures}


def _about(entry: RunSummary) -> str:
    run = entry.run
    return run.day or (f"{run.dataset.name} {run.dataset.version}" if run.dataset else "-")


def _all(reporter: Reporter, entries: list[RunSummary]) -> str:
    rows = [
        [
            entry.run.run_id,
            entry.run.kind,
            f"{entry.run.started[:19]}Z",
            _about(entry),
            entry.state,
            entry.verdict or "-",
            entry.version or "-",
            f"{entry.seconds:.0f} s",
        ]
        for entry in entries
    ]
    return reporter.table(["run", "kind", "began", "about", "state", "gate", "version", "verbs"], rows)


def _one(reporter: Reporter, entry: RunSummary) -> str:
    rows = [
        [name, ended.outcome, f"{ended.seconds:.1f} s", f"{ended.ended[:19]}Z", " ".join(ended.pages) or "-"]
        for name, ended in entry.steps.items()
    ]
    rows += [[name, "failed", "-", f"{str(item['when'])[:19]}Z", "-"] for name, item in entry.failures.items()]
    run = entry.run
    head = f"{run.run_id}: {run.kind} about {_about(entry)}, begun by {run.by}; {entry.state}"
    lines = [
        head,
        "",
        reporter.table(["step", "outcome", "took", "ended", "page"], rows) if rows else "no step has ended",
    ]
    return "\n".join([*lines, *(["", entry.reason] if entry.reason else [])])
