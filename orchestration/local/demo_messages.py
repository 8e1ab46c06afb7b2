"""What the demo prints beside the verbs' own results."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["ending", "measured"]


def measured(workspace: Path) -> str:
    """Sum up the evaluation that `dvc repro` left: the two numbers and the worst class."""
    slices = json.loads((workspace / "artifacts/evaluation/evaluation.json").read_text(encoding="utf-8"))["slices"]
    parts = [
        f"{name} {100 * result['accuracy']:.2f} % of {result['n']}" for name, result in slices.items() if result["n"]
    ]
    worst = slices["all"]["worst"]
    return ", ".join(parts) + f"; worst class {worst['label']} {100 * worst['accuracy']:.1f} %"


def ending(*, workspace: str, server: str, keep: bool, seconds: float) -> str:
    """The closing text: where to look and what to do next."""
    lines = [
        "",
        f"From photos to a served prediction in {seconds:.0f} s. Look at:",
        f"  the evaluation, with every miss   {workspace}/artifacts/evaluation/page.html",
        f"  why the gate let it through       {workspace}/artifacts/gate/page.html",
        f"  the learning curves               {workspace}/artifacts/candidate/curves.csv (dvc plots show)",
        f"  the dataset's check               {workspace}/artifacts/validation/page.html",
        f"  the registry, served version      {workspace}/store, {workspace}/serving",
        "",
        "Next:",
    ]
    shell = f'  cd {workspace} && eval "$(orchard store env --dir store)"'
    if keep:
        photo = '{"instances":[{"image_bytes":{"b64":"\'"$(base64 -w0 photo.jpg)"\'"}}]}'
        return "\n".join(
            [
                *lines,
                "  export PATH=$PWD/.venv/bin:$PATH",
                shell,
                f"  orchard predict unseen/*.jpg        # ORCHARD_SERVER_URL={server}",
                f"  curl -s {server}/v1/models/fruits/labels/stable:predict -d '{photo}'",
                "  orchard versions; orchard history",
            ]
        )
    return "\n".join(
        [
            *lines,
            "  make demo KEEP=1                    the same, and it stays up (steps that are done are skipped)",
            "  make demo DATA=path                 your own photos: <split>/<class>/*.jpg, splits train and test",
            "  docs/tutorial.md                    each step by hand, on all 37 classes",
        ]
    )
