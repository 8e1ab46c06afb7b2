"""What the demo prints besides the verbs' own results."""

from __future__ import annotations

import json
from pathlib import Path

from orchard.formatting import accuracy_text, percent
from orchestration.local.photo_steps import CHANNEL, MODEL
from orchestration.local.release_steps import GateOutcome

__all__ = ["describe_refusal", "evaluation_summary", "next_commands"]


def evaluation_summary(workspace: Path) -> str:
    """Return the accuracy of each slice and the worst class, from the evaluation that `dvc repro` wrote."""
    slices = json.loads((workspace / "artifacts/evaluation/evaluation.json").read_text(encoding="utf-8"))["slices"]
    parts = [
        f"{name} {accuracy_text(result['correct'], result['n'])} of {result['n']}"
        for name, result in slices.items()
        if result["n"]
    ]
    worst = slices["all"]["worst"]
    return ", ".join(parts) + f"; worst class {worst['label']} {percent(worst['accuracy'])} of {worst['n']}"


def describe_refusal(outcome: GateOutcome, command: str) -> list[str]:
    """Return the lines that say what the gate refused, which model answered, and what to change."""
    answered = (
        "The refused model answered all the same, with a recorded override: this store is the demo's own."
        if outcome.served is None
        else f"Version {outcome.served} answered, to which {CHANNEL} still points."
    )
    own = command if "PARAMS=" in command else f"{command} PARAMS=FILE"
    return [
        "",
        f"The gate refused the model: {outcome.reason}",
        answered,
        f"  every check                       {outcome.page}",
        f"  the thresholds and the training   the sections gate and train of {outcome.params}; your changes there are kept",
        f"  or in a file of your own          {own}",
    ]


def next_commands(*, workspace: str, server: str, page: str | None, seconds: float) -> str:
    """Return the last text: where the results are, and what to do next. `page`: the page's address, if it keeps serving."""
    lines = [
        "",
        f"From photos to a served prediction in {seconds:.0f} s. Look at:",
        f"  the evaluation, with every miss   {workspace}/artifacts/evaluation/page.html",
        f"  the gate's verdict                {workspace}/artifacts/gate/page.html",
        f"  the model card                    {workspace}/artifacts/card/card.html",
        f"  the learning curves               {workspace}/artifacts/candidate/curves.csv (dvc plots show)",
        f"  the dataset's check               {workspace}/artifacts/validation/page.html",
        f"  the registry, served version      {workspace}/store, {workspace}/serving",
        "",
        "Next:",
    ]
    shell = f'  cd {workspace} && eval "$(orchard store env --dir store)" && export ORCHARD_MODEL={MODEL}'
    if page:
        photo = '{"instances":[{"image_bytes":{"b64":"\'"$(base64 -w0 photo.jpg)"\'"}}]}'
        return "\n".join(
            [
                *lines,
                "  export PATH=$PWD/.venv/bin:$PATH",
                shell,
                f"  orchard predict unseen/*.jpg        # ORCHARD_SERVER_URL={server}",
                f"  curl -s {server}/v1/models/{MODEL}/labels/{CHANNEL}:predict -d '{photo}'",
                "  orchard versions; orchard history",
                "",
                f"Drop a photo on the page:  {page}/",
            ]
        )
    return "\n".join(
        [
            *lines,
            "  make demo KEEP=1                    the same, and it keeps serving (finished steps are skipped)",
            "  make demo DATA=path                 your own photos: a folder or tar with <class>/*.jpg",
            "  make demo PARAMS=file               your own parameters, whole or some keys of params.yaml",
            "  docs/tutorial.md                    each step by hand, on all 37 classes",
        ]
    )
