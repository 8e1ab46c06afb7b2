"""The epochs: learn, judge on the validation set, keep the best, stop when it gets no better."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace

import keras

from orchard.errors import OrchardError
from orchard.reporter import Reporter
from training.model.checkpoint import Arrays, Checkpoint, TrainingProgress
from training.model.in_memory import InMemoryPhotos
from training.model.trainer import BatchIterator, Trainer
from training.params import EarlyStoppingParams, Params

__all__ = ["EpochFigures", "FitResult", "fit"]


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """What one epoch came to: a line of curves.csv.

    Attributes:
        epoch: from 1.
        loss: mean over the training photos, varied and with dropout.
        accuracy: share of them that was right.
        val_loss: mean over the validation photos, as they are.
        val_accuracy: share of them that was right.
        learning_rate: at its end.
        seconds: that it took, validation included.
        images_per_second: training photos learned from, validation not included.
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
    """What fitting came to.

    Attributes:
        model: with the best epoch's averaged weights.
        epochs: all of them.
        best_epoch: from 1.
        parameters: how many numbers were trained.
    """

    model: keras.Model
    epochs: tuple[EpochFigures, ...]
    best_epoch: int
    parameters: int


@dataclass(frozen=True, slots=True)
class _EarlyStoppingState:
    """Early stopping's memory: the best epoch and how many have passed since without improvement."""

    best_epoch: int = 0
    best_loss: float = math.inf
    waited: int = 0

    def after(self, epoch: EpochFigures, how: EarlyStoppingParams) -> _EarlyStoppingState:
        if epoch.val_loss < self.best_loss - how.min_delta:
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
    """Fit a network to photos; goes on where `checkpoint` says that an earlier call was interrupted.

    Args:
        params: which network, and how.
        classes: how many.
        photos: to learn from.
        validation: to choose the best epoch by.
        checkpoint: written after every epoch. The caller removes it once the result is safe.
        reporter: reports progress.

    Raises:
        OrchardError: the loss is no number any more.
    """
    train = params.train
    learner = Trainer(params, classes, BatchIterator(photos, train.batch_size, train.seed, train.repeat))
    reporter.note(
        f"{learner.parameters:,} parameters learn from {len(photos):,} photos, {len(validation):,} judge them"
    )
    epochs, standing, best = _go_on(learner, checkpoint, reporter)
    for number in range(len(epochs), train.epochs):
        if standing.waited >= train.early_stopping.patience:
            reporter.note(f"no better since epoch {standing.best_epoch}: stopped")
            break
        epochs.append(_run_epoch(learner, number, train.epochs, validation, reporter))
        standing = standing.after(epochs[-1], train.early_stopping)
        if standing.best_epoch == number + 1:
            best = learner.averaged.get_weights()
        reporter.note(_describe(epochs, train.epochs))
        figures = {"epochs": [asdict(epoch) for epoch in epochs], "standing": asdict(standing)}
        checkpoint.save(TrainingProgress([variable.numpy() for variable in learner.variables], best, figures))
    learner.averaged.set_weights(best)
    return FitResult(learner.averaged, tuple(epochs), standing.best_epoch, learner.parameters)


def _go_on(
    learner: Trainer, checkpoint: Checkpoint, reporter: Reporter
) -> tuple[list[EpochFigures], _EarlyStoppingState, Arrays]:
    progress = checkpoint.load([tuple(variable.shape) for variable in learner.variables])
    if progress is None:
        return [], _EarlyStoppingState(), []
    for variable, value in zip(learner.variables, progress.variables, strict=True):
        variable.assign(value)
    epochs = [EpochFigures(**epoch) for epoch in progress.figures["epochs"]]
    reporter.note(f"goes on after epoch {len(epochs)}, where an earlier run was interrupted")
    return epochs, _EarlyStoppingState(**progress.figures["standing"]), progress.best


def _run_epoch(learner: Trainer, number: int, of: int, validation: InMemoryPhotos, reporter: Reporter) -> EpochFigures:
    begin = time.monotonic()
    batches = learner.feed.batches(number)
    loss, right, seen = 0.0, 0, 0
    bar = reporter.track(batches, f"epoch {number + 1} of {of}", announce=False)  # the epoch has a line of its own
    for step, positions in enumerate(bar):
        step_loss, step_right = learner.learn(positions, number, step)
        loss, right, seen = loss + step_loss, right + step_right, seen + len(positions)
    learned = time.monotonic()
    if not math.isfinite(loss):
        raise OrchardError(
            f"training diverged in epoch {number + 1}: the loss is {loss}",
            hint="a smaller train.optimizer.learning_rate, or more train.schedule.warmup_epochs",
        )
    val_loss, val_accuracy = learner.judge(validation.pixels, validation.labels)
    return EpochFigures(
        epoch=number + 1,
        loss=loss / seen,
        accuracy=right / seen,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=learner.learning_rate,
        seconds=time.monotonic() - begin,
        images_per_second=seen / (learned - begin),
    )


def _describe(epochs: list[EpochFigures], of: int) -> str:
    last = epochs[-1]
    left = (of - last.epoch) * sum(epoch.seconds for epoch in epochs[-3:]) / len(epochs[-3:])
    return (
        f"epoch {last.epoch:>3} of {of}: loss {last.loss:.4f}, right {100 * last.accuracy:.2f} %; validation loss "
        f"{last.val_loss:.4f}, right {100 * last.val_accuracy:.2f} %; {last.images_per_second:,.0f} photos/s, "
        f"{left:.0f} s to go"
    )
