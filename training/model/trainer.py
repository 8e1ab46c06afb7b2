"""The training step of a network, with a running average of its weights.

Plain TensorFlow around Keras parts instead of `Model.fit`: photos are in memory, one graph call augments a batch and
learns from it, and all state of a step is in `variables`, so that a killed run resumes with the same result.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from orchard.reporter import Reporter
from training.model.architectures import build, count_parameters, logits_of
from training.model.augmentation import augment
from training.model.feed import BatchIterator
from training.model.fit_head import ProbeFigures, fit_probe
from training.model.in_memory import InMemoryPhotos
from training.model.optimizers import make_optimizer
from training.model.savedmodel_export import predict
from training.model.teachers import Teachers
from training.model.temperature import calibrated_loss
from training.params import ModelParams, Params

__all__ = ["Trainer", "predict_photos_in_memory", "small_batches"]

EVALUATION_PIXELS = 640_000
"""In a batch of `Trainer.evaluate`: 256 photos of 50 pixels a side, 12 of 224, whose features take a hundred megabytes."""


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
        self._params, self._train = params, params.train
        self.feed = feed
        keras.utils.set_random_seed(params.train.seed)
        self._model = build(params.model, classes)
        self.averaged = keras.models.clone_model(self._model)
        self.averaged.set_weights(self._model.get_weights())
        self._averaged_logits = logits_of(self.averaged)
        self.parameters = count_parameters(self._model)
        self._classes = classes
        self._optimizer = make_optimizer(params.train, feed.steps, self._model)
        self._optimizer.build(self._model.trainable_variables)
        self._teachers = Teachers(params.train.distillation.teachers)
        self._steps: dict[int, Any] = {}
        self._evaluate = tf.function(self._score, input_signature=_batch_of(params.model.image_size))

    @property
    def variables(self) -> list[Any]:
        """All state of the next step except its photos and the seed, in a fixed order."""
        return [*self._model.variables, *self.averaged.variables, *self._optimizer.variables]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._optimizer.learning_rate)

    def probe(self, reporter: Reporter) -> ProbeFigures:
        """Fit the last layer to the features of the network's first weights."""
        figures = fit_probe(self._model, self.feed, self._classes, self._params, reporter)
        self.averaged.set_weights(self._model.get_weights())
        return figures

    def refit(self, reporter: Reporter) -> ProbeFigures:
        """Fit the last layer of the averaged network to its features, as `probe` does at the start."""
        return fit_probe(self.averaged, self.feed, self._classes, self._params, reporter)

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
        size = self._size_of(epoch)
        if size not in self._steps:
            self._steps[size] = self._make_step(size)
        loss, right = self._steps[size](*self.feed.take(positions, size), tf.constant(seed))
        return float(loss), int(right)

    def _size_of(self, epoch: int) -> int:
        """The side of the photos in an epoch, pixels: each of the sizes has an equal part of the epochs."""
        sizes = self._train.sizes or [self._params.model.image_size]
        return sizes[min(len(sizes) - 1, epoch * len(sizes) // max(1, self._train.epochs))]

    def _make_step(self, size: int) -> Any:
        """The step for photos of a size, as one graph; the weights are the same for all sizes."""
        logits = logits_of(self._model)
        if size != self._params.model.image_size:
            image = keras.Input((size, size, 3), name="image")
            logits = keras.Model(image, logits.call(image))
        learn = functools.partial(self._learn, logits)
        return tf.function(learn, input_signature=[*_batch_of(size), tf.TensorSpec([2], tf.int32)])

    def _learn(self, network: keras.Model, pixels: Any, labels: Any, seed: Any) -> tuple[Any, Any]:
        levels, targets = tf.cast(pixels, tf.float32), tf.one_hot(labels, self._classes)
        images, targets = augment(levels, targets, seed, self._train.augmentation)
        smoothing = self._train.label_smoothing
        goals = targets * (1 - smoothing) + smoothing / self._classes if smoothing else targets
        if self._train.distillation.teachers:
            share = self._train.distillation.share
            goals = goals * (1 - share) + self._teachers(images) * share
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(goals, logits)
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

    def evaluate(self, photos: InMemoryPhotos) -> tuple[float, float]:
        """Evaluate the averaged network on validation photos, without augmentation.

        Returns:
            The mean loss (cross entropy) and the accuracy, 0 to 1.
        """
        loss, right = 0.0, 0
        for part in small_batches(len(photos), self._params.model.image_size):
            part_loss, part_right = self._evaluate(tf.constant(photos.pixels[part]), tf.constant(photos.labels[part]))
            loss, right = loss + float(part_loss), right + int(part_right)
        return loss / len(photos), right / len(photos)

    def calibrated_loss(self, photos: InMemoryPhotos) -> float:
        """Return the loss of the averaged network on validation photos, at its best temperature."""
        logits = tf.function(self._averaged_logits, reduce_retracing=True)
        parts = [photos.pixels[part] for part in small_batches(len(photos), self._params.model.image_size)]
        values = [logits(tf.constant(part, tf.float32), training=False).numpy() for part in parts]
        return calibrated_loss(np.concatenate(values), photos.labels)

    def _score(self, pixels: Any, labels: Any) -> tuple[Any, Any]:
        logits = self._averaged_logits(tf.cast(pixels, tf.float32), training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_sum(losses), _count_right(labels, logits)


def predict_photos_in_memory(
    model: keras.Model, photos: InMemoryPhotos, positions: npt.NDArray[np.intp], params: ModelParams
) -> npt.NDArray[np.float32]:
    """Return a network's probabilities as they are served, of the photos at positions (int[N]): float32[N, C]."""
    call = tf.function(lambda image: predict(model, image, mirrored=params.mirrored), reduce_retracing=True)
    parts = [positions[part] for part in small_batches(len(positions), params.image_size)]
    return np.concatenate([call(tf.constant(photos.pixels[part], tf.float32)).numpy() for part in parts])


def small_batches(count: int, size: int) -> list[npt.NDArray[np.intp]]:
    """Positions of photos of a size, pixels a side, in batches that a network can predict in little memory."""
    batch = max(1, EVALUATION_PIXELS // size**2)
    return [np.arange(start, min(start + batch, count)) for start in range(0, count, batch)]


def _batch_of(size: int) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([None, size, size, 3], tf.uint8), tf.TensorSpec([None], tf.int32)]


def _count_right(labels: Any, logits: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels), tf.int32))
