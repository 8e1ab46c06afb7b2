"""What `orchard run` prints of its steps and at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from orchard.disk import writing_to
from orchard.errors import DataError
from orchard.runs.records import Outcome
from orchard.runs.summary import RunSummary
from orchard.settings import Settings
from orchestration.local.commands import CommandRunner
from orchestration.local.demo_messages import evaluation_summary
from orchestration.local.unseen_photos import choose_unseen

__all__ = ["StepEnd", "nothing_new", "result_text", "stage_summary"]

UNSEEN = Path(".orchard/unseen")
SERVE = "orchard sync --serve"


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step ended: its outcome, the reason if that is not ``done``, the verb's document, and a line for people."""

    outcome: Outcome
    reason: str
    document: dict[str, Any]
    text: str


def stage_summary(verb: str, folder: Path, *, unchanged: bool) -> str:
    """Return a line on what a stage of dvc.yaml has made."""
    if verb == "evaluate":
        text = evaluation_summary(folder)
    elif verb == "train":
        made = json.loads((folder / "artifacts/candidate/training.json").read_text(encoding="utf-8"))
        text = f"{made['epochs_run']} epochs, {made['parameters']:,} parameters"
    else:
        text = "the dataset keeps the rules of data/schema.yaml" if verb == "validate" else "done"
    return f"{text} (as before: nothing has changed)" if unchanged else text


def nothing_new(entry: RunSummary) -> str:
    """Return what to say where a run with the same inputs has ended."""
    return "\n".join(
        [
            f"nothing new: the run {entry.run.run_id} had the same photos, parameters and rules, and made version {entry.version}",
            f"  serve it          {SERVE}",
            "  look at it        orchard runs; orchard versions; orchard history",
            "  another run       change params.yaml or add photos, then orchard run",
        ]
    )


def result_text(
    run_id: str, settings: Settings, ends: Mapping[str, StepEnd], runner: CommandRunner
) -> tuple[dict[str, Any], str]:
    """Return the document of a run that has ended, and its text."""
    version, promoted = ends["publish"].document["version"], ends["promote"]
    name = f"version {version} of {settings.model}"
    state = f"{settings.channel} points to {name}" if promoted.outcome == "done" else promoted.reason
    photo = _unseen_photo(settings.dataset)
    seconds = sum(runner.seconds.values())
    commands = (SERVE, f"orchard predict {photo}")
    lines = [
        "",
        f"From photos to a published model in {seconds:.0f} s: {state}.",
        "  each mistake      artifacts/evaluation/page.html",
        "  the model card    artifacts/card/card.html",
        "Next:",
        f"  {commands[0]:<40} the model server, until Ctrl-C",
        f"  {commands[1]:<40} in another terminal, in this folder",
    ]
    document = {
        "run": run_id,
        "outcome": promoted.outcome,
        "version": version,
        "verdict": ends["gate"].document["verdict"],
        "steps": dict(runner.seconds),
        "seconds": round(seconds, 1),
        "next": list(commands),
    }
    return document, "\n".join(lines)


def _unseen_photo(dataset: str) -> str:
    """Write a test photo to a file; return its path as the user would type it, or PHOTO where there is none."""
    try:
        chosen = choose_unseen(Path("data") / dataset)[0]
    except DataError:
        return "PHOTO"
    path = UNSEEN / chosen.file_name
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chosen.body)
    return quote(str(path))
