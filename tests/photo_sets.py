"""`make demo DATA=` on sets of photos that are not fruit: each must reach a served prediction and its accuracy.

python -m tests.photo_sets [arrows] [textures] [signs]     # takes minutes; signs: ../shared/data/signs.tar.gz
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import drawn_photos

__all__ = ["accuracy"]

ROOT = Path(__file__).resolve().parents[1]
SIGNS = ROOT.parent / "shared" / "data" / "signs.tar.gz"
PHOTOS = 200
"""Photos of each class of a drawn set."""

LEAST = 0.99


def accuracy(workspace: Path) -> float:
    """Return the share of the test photos that a demo's model predicts correctly."""
    evaluation = json.loads((workspace / "artifacts/evaluation/evaluation.json").read_text(encoding="utf-8"))
    return float(evaluation["slices"]["all"]["accuracy"])


def main(names: list[str]) -> int:
    """Run the demo on each set and print its accuracy; returns 1 if one misses."""
    missed = 0
    for name in names or [*drawn_photos.SETS, "signs"]:
        with tempfile.TemporaryDirectory() as folder:
            path = SIGNS if name == "signs" else drawn_photos.fill(Path(folder, name), name, PHOTOS)
            command = [
                sys.executable,
                "-m",
                "orchard",
                "demo",
                "--json",
                "--data",
                str(path),
                "--dir",
                f"{folder}/demo",
            ]
            document = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
            reached = accuracy(Path(document["workspace"]))
            passed = reached >= LEAST and document["gate"]["verdict"] == "accepted" and bool(document["predictions"])
            missed += not passed
            print(f"{name}: {reached:.2%} right, {document['seconds']:.0f} s, {'passed' if passed else 'missed'}")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
