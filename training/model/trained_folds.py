"""Cross-validation of a whole training: the network of the params is trained on each fold, as `orchard train` does it."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchard.errors import ParamsError
from orchard.files import atomic_write
from orchard.reporter import Reporter
from training.data.shards import Index, read_index
from training.model.checkpoint import Checkpoint, name_run
from training.model.cross_validation import CrossValidation, cross_validate
from training.model.fit import fit
from training.model.grouped_photos import GroupedPhotos
from training.model.in_memory import read_training_photos
from training.model.photo_groups import folds
from training.model.trainer import predict_photos_in_memory
from training.model.validation_photos import choose_validation_photos
from training.params import Params
from training.workspace import CHECKPOINTS, Workspace

__all__ = ["TrainedNetwork", "require_no_teachers", "train_folds"]


class TrainedNetwork:
    """Trains on all photos but those of a fold, and predicts these; `training.model.cross_validation` calls it.

    The epochs are validated on a part of the photos to learn from, never on the fold. A training that was killed resumes.

    Args:
        params: the network and its training.
        workspace: has the dataset; gets the checkpoints.
        digests: the SHA-256 (hex) of the N photos that the positions of the folds mean. Other training photos of the
            dataset are always learned from.
        reporter: reports progress.
    """

    def __init__(self, params: Params, workspace: Workspace, digests: list[str], reporter: Reporter) -> None:
        self._params, self._workspace, self._reporter = params, workspace, reporter
        self._folder = workspace.dataset(params.data.name)
        self._index: Index = read_index(self._folder)
        self._photos = read_training_photos(self._folder, self._index, params)
        place = {digest: position for position, digest in enumerate(self._photos.digests)}
        self._answered: list[Path] = []
        self._places = np.array([place[digest] for digest in digests])

    def __call__(self, train: npt.NDArray[np.intp], test: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Train without the photos at `test` and return their probabilities: float64[m, C]."""
        run = f"{name_run(self._params, self._index.digest)}-without-{test.min()}-{len(test)}"
        answers = self._workspace.root / CHECKPOINTS / f"{run}.npy"
        if not answers.exists():
            body = io.BytesIO()
            np.save(body, self._predict(test, run))
            atomic_write(answers, body.getvalue())
        self._answered.append(answers)
        found: npt.NDArray[np.float32] = np.load(answers, allow_pickle=False)
        return found.astype(np.float64)

    def forget(self) -> None:
        """Delete the answers of the folds, which a run that was killed would read again."""
        for path in self._answered:
            path.unlink(missing_ok=True)

    def _predict(self, test: npt.NDArray[np.intp], run: str) -> npt.NDArray[np.float32]:
        held = np.zeros(len(self._photos), bool)
        held[self._places[test]] = True
        rest = self._photos.select(~held)
        chosen = choose_validation_photos(rest, self._index, self._params, self._folder, self._reporter)
        checkpoint = Checkpoint(self._workspace.root / CHECKPOINTS, run)
        classes = len(self._index.classes)
        fitted = fit(self._params, classes, rest.select(~chosen), rest.select(chosen), checkpoint, self._reporter)
        answers = predict_photos_in_memory(fitted.model, self._photos, self._places[test], self._params.model)
        checkpoint.remove()
        return answers


def require_no_teachers(params: Params) -> None:
    """Check that the params name no teachers, who have seen the photos of every fold. Raises `ParamsError` if they do."""
    if params.train.distillation.teachers:
        raise ParamsError(
            "train.distillation.teachers have learned from the photos of the folds, so the figure would be too good",
            hint="cross-validate with params that have teachers: []",
        )


def train_folds(
    photos: GroupedPhotos,
    index: Index,
    k: int,
    params: Params,
    workspace: Workspace,
    reporter: Reporter,
    only: Collection[int] = (),
) -> CrossValidation:
    """Cross-validate the training of the params, in k folds of the photos' groups, or `only` in some of them.

    Raises:
        ParamsError: as of `require_no_teachers`.
    """
    require_no_teachers(params)
    network = TrainedNetwork(params, workspace, [row.digest for row in photos.rows], reporter)
    result = cross_validate(photos.labels, index.classes, folds(photos.groups, k), network, reporter, only=only)
    network.forget()
    return result
