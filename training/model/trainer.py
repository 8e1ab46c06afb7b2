"""The training step of a network, with a running average of its weights.

Plain TensorFlow around Keras parts instead of `Model.fit`: photos are in memory, one graph call augments a batch and
learns from it, and all state of a step is in `variables`, so that a killed run resumes with the same result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.model.architectures import build, count_parameters, logits_of
from training.model.augmentation import augment
from training.model.in_memory import InMemoryPhotos
from training.model.preprocessing import Pixels
from training.params import Params, ScheduleParams, TrainParams

__all__ = ["BatchIterator", "LearningRate", "Trainer", "make_optimizer"]

EVALUATION_BATCH = 256


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
    """The learning rate at a step: a linear warm-up, then constant or a cosine decay to zero.

    Args:
        peak: the learning rate after the warm-up.
        schedule: the params.
        steps: per epoch.
        epochs: maximum number of epochs.
    """

    def __init__(self, peak: float, schedule: ScheduleParams, steps: int, epochs: int) -> None:
        self._peak = peak
        self._cosine = schedule.name == "cosine"
        self._warmup = schedule.warmup_epochs * steps
        self._decay = max(1, epochs * steps - self._warmup)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at a step (a tensor, from 0)."""
        now = tf.cast(step, tf.float32)
        warmup = tf.minimum(1.0, (now + 1) / max(1, self._warmup))
        decayed = tf.clip_by_value((now - self._warmup) / self._decay, 0, 1)
        return self._peak * warmup * ((1 + tf.cos(math.pi * decayed)) / 2 if self._cosine else 1.0)


def make_optimizer(train: TrainParams, steps: int) -> keras.optimizers.Optimizer:
    """Make the optimizer of the params, for so many steps per epoch."""
    rate = LearningRate(train.optimizer.learning_rate, train.schedule, steps, train.epochs)
    momentum = train.optimizer.momentum
    if train.optimizer.name == "sgd":
        return keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0)
    if train.optimizer.name == "rmsprop":
        return keras.optimizers.RMSprop(rate, momentum=momentum)
    return keras.optimizers.Adam(rate)


class BatchIterator:
    """Photos in memory, in batches, in a new order in every epoch.

    NumPy, not TensorFlow, gathers a batch: it is a few times as fast on one core, and memory has the photos only once.

    Args:
        photos: all photos.
        batch_size: maximum number of photos in a batch.
        seed: of the orders.
        repeat: by source, how often an epoch has each photo; default 1.
    """

    def __init__(
        self, photos: InMemoryPhotos, batch_size: int, seed: int, repeat: Mapping[str, int] | None = None
    ) -> None:
        times = [(repeat or {}).get(source, 1) for source in photos.sources]
        self._positions = np.repeat(np.arange(len(photos), dtype=np.int32), times)
        self.steps = math.ceil(len(self._positions) / batch_size)
        self._seed = seed
        self._pixels, self._labels = photos.pixels, photos.labels
        self._buffer = np.empty((math.ceil(len(self._positions) / self.steps), *photos.pixels.shape[1:]), np.uint8)

    def batches(self, epoch: int) -> list[npt.NDArray[np.int32]]:
        """The order of an epoch: positions of the photos, in batches of nearly equal size. Epochs count from 0."""
        order = np.random.default_rng([self._seed, epoch]).permutation(self._positions)
        return np.array_split(order, self.steps)

    def take(self, positions: npt.NDArray[np.int32]) -> tuple[Any, Any]:
        """Return the photos at positions (int32[N], N at most a batch): pixels, uint8[N, S, S, 3], and labels, int32[N]."""
        pixels = self._buffer[: len(positions)]
        np.take(self._pixels, positions, axis=0, out=pixels, mode="clip")  # any other mode makes a copy first
        return tf.constant(pixels), tf.constant(self._labels[positions])


class Trainer:
    """A network, the running average of its weights, its optimizer and its training photos.

    Args:
        params: the network and its training.
        classes: number of classes.
        feed: the batches of training photos.

    Attributes:
        feed: the batches of training photos.
        averaged: the network with the averaged weights: the one that is evaluated and stored.
        parameters: number of trainable parameters.
    """

    def __init__(self, params: Params, classes: int, feed: BatchIterator) -> None:
        self._train = params.train
        self.feed = feed
        keras.utils.set_random_seed(params.train.seed)
        self._model = build(params.model, classes)
        self.averaged = build(params.model, classes)
        self.averaged.set_weights(self._model.get_weights())
        self._logits, self._averaged_logits = logits_of(self._model), logits_of(self.averaged)
        self.parameters = count_parameters(self._model)
        self._classes = classes
        self._optimizer = make_optimizer(params.train, feed.steps)
        self._optimizer.build(self._model.trainable_variables)
        size = params.model.image_size
        shape, labels = [None, size, size, 3], tf.TensorSpec([None], tf.int32)
        pixels, seed = tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([2], tf.int32)
        self._step = tf.function(self._learn, input_signature=[pixels, labels, seed])
        self._evaluate = tf.function(self._score, input_signature=[pixels, labels])

    @property
    def variables(self) -> list[Any]:
        """All state of the next step except its photos and the seed, in a fixed order."""
        return [*self._model.variables, *self.averaged.variables, *self._optimizer.variables]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._optimizer.learning_rate)

    def learn(self, positions: npt.NDArray[np.int32], epoch: int, step: int) -> tuple[float, int]:
        """Learn from a batch.

        Args:
            positions: int32[N], of the photos.
            epoch: from 0; with `step`, the seed of the batch's augmentation.
            step: from 0.

        Returns:
            The loss, summed over the photos, and the number of correct ones.
        """
        seed = np.array([self._train.seed, epoch * self.feed.steps + step], np.int32)
        loss, right = self._step(*self.feed.take(positions), tf.constant(seed))
        return float(loss), int(right)

    def _learn(self, pixels: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
        levels, targets = tf.cast(pixels, tf.float32), tf.one_hot(labels, self._classes)
        images, targets = augment(levels, targets, seed, self._train.augmentation)
        with tf.GradientTape() as tape:
            logits = self._logits(images, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(losses)
        weights = self._model.trainable_variables
        self._optimizer.apply(tape.gradient(loss, weights), weights)
        self._average()
        return tf.reduce_sum(losses), _count_right(tf.argmax(targets, axis=1, output_type=tf.int32), logits)

    def _average(self) -> None:
        """Move the averaged weights towards the last ones; the decay is smaller in the first steps."""
        step = tf.cast(self._optimizer.iterations, tf.float32)
        decay = tf.minimum(self._train.averaging, step / (step + 10))
        for average, last in zip(self.averaged.variables, self._model.variables, strict=True):
            if tf.as_dtype(last.dtype).is_floating:
                average.assign(last.value + decay * (average.value - last.value))

    def evaluate(self, pixels: Pixels, labels: npt.NDArray[np.int32]) -> tuple[float, float]:
        """Evaluate the averaged network on validation photos, without augmentation.

        Args:
            pixels: uint8[N, S, S, 3].
            labels: int32[N].

        Returns:
            The mean loss (cross entropy) and the accuracy, 0 to 1.
        """
        loss, right = 0.0, 0
        for start in range(0, len(labels), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            part_loss, part_right = self._evaluate(tf.constant(pixels[part]), tf.constant(labels[part]))
            loss, right = loss + float(part_loss), right + int(part_right)
        return loss / len(labels), right / len(labels)

    def _score(self, pixels: Any, labels: Any) -> tuple[Any, Any]:
        logits = self._averaged_logits(tf.cast(pixels, tf.float32), training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_sum(losses), _count_right(labels, logits)


def _count_right(labels: Any, logits: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels), tf.int32))
