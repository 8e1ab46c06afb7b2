"""Sets of photos that are not fruit, drawn or from where they are; and `make demo DATA=` on some of them.

python -m tests.photo_sets [arrows] [textures] [signs]     # takes minutes; signs: ../shared/data/signs.tar.gz
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests import drawn_photos

__all__ = ["SIGNS", "accuracy", "fill_set"]

ROOT = Path(__file__).resolve().parents[1]
SIGNS = ROOT.parent / "shared" / "data" / "signs.tar.gz"
PHOTOS = 200
"""Photos of each class of a drawn set."""

LEAST = 0.99


def fill_set(folder: Path, name: str, photos: int = PHOTOS) -> Path:
    """Return the photos of a set: an archive, or `folder` filled with ``<class>/<photo>``.

    Args:
        folder: the folder, which does not exist yet.
        name: `signs`, the hand signs beside the checkout; `digits`, scikit-learn's as PNG; `cells`, solar cells of the package
            elpv-dataset, which pip downloads; or a set of `drawn_photos`.
        photos: of each class of a drawn set.
    """
    if name == "signs":
        return SIGNS
    if name == "digits":
        return _fill_digits(folder)
    if name == "cells":
        return _fill_cells(folder)
    return drawn_photos.fill(folder, name, photos)


def _fill_digits(folder: Path) -> Path:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)).save(path)
    return folder


def _fill_cells(folder: Path) -> Path:
    """Solar cells in electroluminescence, whole or defective: those that are labelled as surely one or the other."""
    with tempfile.TemporaryDirectory() as temporary:
        command = ["pip", "download", "--quiet", "--no-deps", "--dest", temporary, "elpv-dataset"]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
            names = {name.rsplit("/", 1)[-1]: name for name in wheel.namelist()}
            for row in csv.reader(
                io.StringIO(wheel.read(names["labels.csv"]).decode()), delimiter=" ", skipinitialspace=True
            ):
                label = {0.0: "whole", 1.0: "defective"}.get(round(float(row[1]), 2))
                if label:
                    path = folder / label / Path(row[0]).name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(wheel.read(names[path.name]))
    return folder


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
