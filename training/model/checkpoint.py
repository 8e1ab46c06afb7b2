"""The state of a training run, written after every epoch: a killed run resumes and ends with the same result.

A checkpoint holds every variable (weights, running average, optimizer, dropout's random state), the best weights so far
and the epochs' figures. The order of photos and their variations need no state: they depend on the seed and the epoch.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchard import documents
from orchard.files import atomic_write
from training.params import Params
from training.stage_code import ROOT, stage_files

__all__ = ["Checkpoint", "TrainingProgress", "name_run"]

FILE = "epoch.npz"

Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """A run after an epoch.

    Attributes:
        variables: the trainer's, in its order.
        best: the best weights so far.
        figures: JSON of the epochs so far and of early stopping.
    """

    variables: Arrays
    best: Arrays
    figures: Mapping[str, Any]


def name_run(params: Params, dataset_digest: str) -> str:
    """Name a run by the digest of all that its result depends on: photos, the params of training, code and versions.

    Returns:
        64 hexadecimal digits.
    """
    import keras
    import tensorflow as tf

    from training.model.architectures import describe_origin
    from training.model.teachers import describe_teachers

    code = {file: documents.sha256_hex((ROOT / file).read_bytes()) for file in stage_files("train")}
    return documents.digest(
        {
            "dataset": dataset_digest,
            "params": params.model_dump(mode="json", include={"model", "train"}),
            "origin": describe_origin(params.model) | describe_teachers(params.train.distillation.teachers),
            "code": code,
            "versions": [keras.__version__, tf.__version__],
        }
    )


class Checkpoint:
    """The checkpoint of one run, whose name is from `name_run`, in a folder of checkpoints."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder / run
        self._file = self._folder / FILE

    def save(self, progress: TrainingProgress) -> None:
        """Replace the checkpoint atomically: a process that is killed meanwhile leaves the old one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        body = io.BytesIO()
        arrays = {f"variable{number:05d}": array for number, array in enumerate(progress.variables)}
        arrays |= {f"best{number:05d}": array for number, array in enumerate(progress.best)}
        figures = np.frombuffer(json.dumps(progress.figures).encode(), np.uint8)
        np.savez(body, figures=figures, **arrays)  # type: ignore[arg-type]  # its annotation is stricter than its behaviour
        atomic_write(self._file, body.getvalue())

    def load(self, shapes: Sequence[tuple[int, ...]]) -> TrainingProgress | None:
        """Return the last saved progress, or None if there is none whose variables have these shapes."""
        try:
            with np.load(io.BytesIO(self._file.read_bytes()), allow_pickle=False) as archive:
                names = sorted(archive.files)
                variables = [archive[name] for name in names if name.startswith("variable")]
                best = [archive[name] for name in names if name.startswith("best")]
                figures = json.loads(archive["figures"].tobytes())
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # missing, or truncated by a full disk: the run starts again, which costs only time
        if [array.shape for array in variables] != list(shapes):
            return None
        return TrainingProgress(variables, best, figures)

    def remove(self) -> None:
        """Delete the checkpoint: the run has ended and its result is stored."""
        shutil.rmtree(self._folder, ignore_errors=True)
