"""The steps that the demo and a deployment share: draw and ingest sample photos, predict photos that training never saw."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchard.env_files import NO_FILE, VARIABLE
from orchard.formatting import percent
from orchestration.local.commands import CommandRunner, verb_environment
from orchestration.local.sample_data import SampleData
from orchestration.local.unseen_photos import choose_unseen

__all__ = ["CHANNEL", "MODEL", "ingest", "photo_paths", "predict_unseen", "step_environment"]

MODEL = "fruits"
CHANNEL = "stable"


def step_environment(dataset: str, model: str = MODEL) -> dict[str, str]:
    """Return the environment of the steps: ours, without settings that name another store, model or dataset."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHARD_", "AWS_"))}
    return {
        **verb_environment(inherited),
        VARIABLE: NO_FILE,  # the .env of a folder above names a store too
        "ORCHARD_DATASET": dataset,
        "ORCHARD_MODEL": model,
    }


def photo_paths(runner: CommandRunner, source: SampleData) -> tuple[Path, ...]:
    """Return the photos to ingest; draws them first if the source has none."""
    if source.paths:
        return source.paths
    folder = runner.folder / "synthetic"  # data/schema.yaml lists this name as turntable photos
    runner.verb("synthetic", str(folder))
    return (folder,)


def ingest(runner: CommandRunner, source: SampleData, paths: tuple[Path, ...]) -> None:
    """Ingest the photos, of the source's classes only."""
    classes = ("--classes", ",".join(source.classes)) if source.classes else ()
    share = () if source.test_share is None else ("--test-share", str(source.test_share))
    runner.verb("ingest", *map(str, paths), *classes, *share)


def predict_unseen(
    runner: CommandRunner, dataset: str, *options: str, folder: str = "unseen"
) -> Iterator[dict[str, Any]]:
    """Predict test photos that `ingest` took; yields each prediction with the true class and the photo's path.

    Args:
        runner: its environment names the server.
        dataset: the dataset's name.
        options: `predict`'s.
        folder: for the photos, in that of the runner.

    Raises:
        DataError: there is none.
    """
    for chosen in choose_unseen(runner.folder / "data" / dataset):
        photo = runner.folder / folder / chosen.file_name
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(chosen.body)
        output, seconds = runner.run("predict", str(photo), *options, "--json")
        prediction: dict[str, Any] = json.loads(output)["predictions"][0]
        result = f"{prediction['label']}, {percent(prediction['probability'])}"
        origin = f"a photo of {chosen.label} from {chosen.source} that training never saw"
        runner.report("predict", f"{result} ({origin})", seconds)
        yield {**prediction, "truth": chosen.label, "path": str(photo)}
