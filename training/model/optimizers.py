"""The optimizer of the params: its learning rate at every step, and every layer's share of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from training.model.backbones.depths import weight_depths
from training.params import ScheduleParams, TrainParams

__all__ = ["LearningRate", "make_optimizer"]


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


def make_optimizer(train: TrainParams, steps: int, model: keras.Model | None = None) -> keras.optimizers.Optimizer:
    """Make the optimizer of the params, for so many steps per epoch.

    Args:
        train: the params.
        steps: per epoch.
        model: gives each layer its share of the learning rate; None: all layers learn at the same rate.
    """
    rate = LearningRate(train.optimizer.learning_rate, train.schedule, steps, train.epochs)
    momentum, decay = train.optimizer.momentum, train.optimizer.weight_decay or None
    if train.optimizer.name == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay)
    elif train.optimizer.name == "rmsprop":
        optimizer = keras.optimizers.RMSprop(rate, momentum=momentum, weight_decay=decay)
    else:
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    if model is not None and train.optimizer.stem_rate < 1:
        depths = weight_depths(model)  # 0 to 1: the rates rise geometrically
        weights = model.trainable_variables
        _slow_down(
            optimizer,
            {weight.value.ref(): train.optimizer.stem_rate ** (1 - depths[weight.path]) for weight in weights},
        )
    return optimizer


def _slow_down(optimizer: keras.optimizers.Optimizer, shares: Mapping[Any, float]) -> None:
    """Scale the steps of an optimizer, by the weights' references, not the gradients, which Adam would scale back."""
    update = optimizer.update_step

    def scaled(gradient: Any, weight: Any, learning_rate: Any) -> None:
        update(gradient, weight, learning_rate * shares[weight.ref()])

    optimizer.update_step = scaled
