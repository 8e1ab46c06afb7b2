"""The epochs: train, evaluate on the validation set, keep the best weights, stop when there is no improvement.

A network with pretrained weights first gets a linear probe, which counts as epoch 0. After the last epoch its head may be
fitted again, which counts as one more epoch; it is kept if its loss at its best temperature is smaller than that of the
best epoch, because the heads of both were not trained to be equally sure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import keras
import numpy as np
import numpy.typing as npt

from orchard.errors import OrchardError
from orchard.formatting import percent
from orchard.reporter import Reporter
from training.model.checkpoint import Arrays, Checkpoint, TrainingProgress
from training.model.feed import BatchIterator
from training.model.fit_head import ProbeFigures
from training.model.in_memory import InMemoryPhotos
from training.model.trainer import Trainer
from training.params import EarlyStoppingParams, Params

__all__ = ["EpochFigures", "FitResult", "fit"]


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """The figures of one epoch: a row of curves.csv.

    Attributes:
        epoch: from 1; 0 is the linear probe, and one more than the last epoch of the params is the refitted head.
        loss: mean over the augmented training photos, with dropout.
        accuracy: share of them that was right.
        val_loss: mean over the validation photos, without augmentation.
        val_accuracy: share of them that was right.
        learning_rate: at the end of the epoch.
        seconds: duration, validation included.
        images_per_second: of training, validation not included.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class FitResult:
    """The result of `fit`.

    Attributes:
        model: with the best epoch's averaged weights.
        epochs: all epochs.
        best_epoch: as in `EpochFigures`.
        parameters: number of trained parameters.
    """

    model: keras.Model
    epochs: tuple[EpochFigures, ...]
    best_epoch: int
    parameters: int


@dataclass(frozen=True, slots=True)
class _EarlyStoppingState:
    """The state of early stopping: the best epoch, and the epochs since then without improvement."""

    best_epoch: int = -1
    best_loss: float = math.inf
    waited: int = 0

    def after(self, epoch: EpochFigures, params: EarlyStoppingParams) -> _EarlyStoppingState:
        if epoch.val_loss < self.best_loss - params.min_delta:
            return _EarlyStoppingState(epoch.epoch, epoch.val_loss)
        return replace(self, waited=self.waited + 1)


def fit(
    params: Params,
    classes: int,
    photos: InMemoryPhotos,
    validation: InMemoryPhotos,
    checkpoint: Checkpoint,
    reporter: Reporter,
) -> FitResult:
    """Fit a network to photos; resumes from `checkpoint` if an earlier call was interrupted.

    Args:
        params: the network and its training.
        classes: number of classes.
        photos: the training photos.
        validation: the photos that choose the best epoch.
        checkpoint: written after every epoch. The caller removes it once the result is stored.
        reporter: reports progress.

    Raises:
        OrchardError: the loss is NaN or infinite.
    """
    train = params.train
    trainer = Trainer(params, classes, BatchIterator(photos, train.batch_size, train.seed, train.repeat))
    reporter.note(
        f"{trainer.parameters:,} parameters, {len(photos):,} training photos, {len(validation):,} validation photos"
    )
    judged = validation.select(_limit(validation, train.validation.photos))
    epochs, stopping, best = _resume(trainer, checkpoint, reporter)
    for number in range(_next_epoch(epochs, params), train.epochs + 1 + train.refit):
        if number <= train.epochs and stopping.waited >= train.early_stopping.patience:
            if epochs[-1].epoch == number - 1:
                reporter.note(f"stopped: no improvement since epoch {stopping.best_epoch}")
            continue
        if number > train.epochs:
            figures, is_better = _refit_head(trainer, number, best, judged, reporter)
            stopping = replace(stopping, best_epoch=number) if is_better else stopping
        else:
            figures = _run_number(trainer, number, train.epochs, judged, reporter)
            stopping = stopping.after(figures, train.early_stopping)
        epochs.append(figures)
        if stopping.best_epoch == number:
            best = trainer.averaged.get_weights()
        reporter.note(_describe(epochs, train.epochs))
        document = {"epochs": [asdict(epoch) for epoch in epochs], "standing": asdict(stopping)}
        checkpoint.save(TrainingProgress([variable.numpy() for variable in trainer.variables], best, document))
    trainer.averaged.set_weights(best)
    return FitResult(trainer.averaged, tuple(epochs), stopping.best_epoch, trainer.parameters)


def _resume(
    trainer: Trainer, checkpoint: Checkpoint, reporter: Reporter
) -> tuple[list[EpochFigures], _EarlyStoppingState, Arrays]:
    progress = checkpoint.load([tuple(variable.shape) for variable in trainer.variables])
    if progress is None:
        return [], _EarlyStoppingState(), []
    for variable, value in zip(trainer.variables, progress.variables, strict=True):
        variable.assign(value)
    epochs = [EpochFigures(**epoch) for epoch in progress.figures["epochs"]]
    reporter.note(f"resumes after epoch {epochs[-1].epoch} of an interrupted run")
    return epochs, _EarlyStoppingState(**progress.figures["standing"]), progress.best


def _next_epoch(epochs: list[EpochFigures], params: Params) -> int:
    """The number of the next epoch; 0 is the linear probe."""
    if epochs:
        return epochs[-1].epoch + 1
    return 0 if params.model.pretrained else 1


def _limit(photos: InMemoryPhotos, most: int) -> npt.NDArray[np.bool_]:
    """Choose at most so many photos of each source, evenly from all of its photos: bool[N]."""
    chosen = np.zeros(len(photos), bool)
    for source in sorted(set(photos.sources)):
        positions = np.flatnonzero(np.array(photos.sources) == source)
        order = positions[np.argsort(photos.labels[positions], kind="stable")]
        chosen[order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)]] = True
    return chosen


def _refit_head(
    trainer: Trainer, number: int, best: Arrays, validation: InMemoryPhotos, reporter: Reporter
) -> tuple[EpochFigures, bool]:
    """Fit the head again to the features of the best weights until now, and say whether it is better than theirs."""
    trainer.averaged.set_weights(best)
    before = trainer.calibrated_loss(validation)
    figures = _fit_head(trainer, number, trainer.refit, validation, reporter)
    return figures, trainer.calibrated_loss(validation) < before


def _fit_head(
    trainer: Trainer,
    number: int,
    method: Callable[[Reporter], ProbeFigures],
    validation: InMemoryPhotos,
    reporter: Reporter,
) -> EpochFigures:
    """Fit the head to features by a method of the trainer, as the epoch of this number."""
    begin = time.monotonic()
    figures = method(reporter)
    trained = time.monotonic()
    val_loss, val_accuracy = trainer.evaluate(validation)
    return EpochFigures(
        epoch=number,
        loss=figures.loss,
        accuracy=figures.accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=0.0,
        seconds=time.monotonic() - begin,
        images_per_second=figures.photos / (trained - begin),
    )


def _run_number(trainer: Trainer, number: int, of: int, validation: InMemoryPhotos, reporter: Reporter) -> EpochFigures:
    """Run an epoch by its number; 0 is the linear probe."""
    if number == 0:
        return _fit_head(trainer, 0, trainer.probe, validation, reporter)
    return _run_epoch(trainer, number - 1, of, validation, reporter)


def _run_epoch(trainer: Trainer, number: int, of: int, validation: InMemoryPhotos, reporter: Reporter) -> EpochFigures:
    begin = time.monotonic()
    batches = trainer.feed.batches(number)
    loss, right, seen = 0.0, 0, 0
    tracked = reporter.track(batches, f"epoch {number + 1} of {of}", announce=False)  # `fit` reports every epoch
    for step, positions in enumerate(tracked):
        step_loss, step_right = trainer.learn(positions, number, step)
        loss, right, seen = loss + step_loss, right + step_right, seen + len(positions)
    trained = time.monotonic()
    if not math.isfinite(loss):
        raise OrchardError(
            f"training diverged in epoch {number + 1}: the loss is {loss}",
            hint="lower train.optimizer.learning_rate, or raise train.schedule.warmup_epochs",
        )
    val_loss, val_accuracy = trainer.evaluate(validation)
    return EpochFigures(
        epoch=number + 1,
        loss=loss / seen,
        accuracy=right / seen,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=trainer.learning_rate,
        seconds=time.monotonic() - begin,
        images_per_second=seen / (trained - begin),
    )


def _describe(epochs: list[EpochFigures], of: int) -> str:
    last = epochs[-1]
    if last.epoch in {0, of + 1}:
        name = "refitted head" if last.epoch else "linear probe"
        return (
            f"{name}: right {percent(last.accuracy)}; validation loss {last.val_loss:.4f}, right "
            f"{percent(last.val_accuracy)}; {last.seconds:.0f} s"
        )
    remaining = (of - last.epoch) * sum(epoch.seconds for epoch in epochs[-3:]) / len(epochs[-3:])
    return (
        f"epoch {last.epoch:>3} of {of}: loss {last.loss:.4f}, right {percent(last.accuracy)}; validation loss "
        f"{last.val_loss:.4f}, right {percent(last.val_accuracy)}; {last.images_per_second:,.0f} photos/s, "
        f"{remaining:.0f} s remaining"
    )
