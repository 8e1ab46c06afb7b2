"""Networks by name, from a photo's pixels to the probabilities of the classes.

A new architecture is a function from pixels to features, a line in `ARCHITECTURES`, and its name (and section, if it
has parameters of its own) in `training.params.ModelParams`. The architecture scales pixels to the range that it needs.
Decoding and resizing are not part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from training.params import ModelParams

__all__ = ["ARCHITECTURES", "build", "count_parameters", "logits_of"]

LOGITS = "logits"
WHITE = 255.0

DARKEST = 0.02
"""Added to light (0 to 1) before the logarithm, so that noise in black is not amplified."""

MOMENTUM = 0.9
"""Momentum of batch normalisation's moving statistics. They converge within one epoch of the smallest dataset; with
Keras' default of 0.99 they do not. The running average of the weights smooths them anyway."""


def build(params: ModelParams, classes: int) -> keras.Model:
    """Build a network with fresh weights for so many classes; seed Keras first.

    Returns:
        A model from ``image``, float32[N, S, S, 3] with 0 to 255, to ``probabilities``, float32[N, classes] that sum
        to 1.
    """
    image = keras.Input((params.image_size, params.image_size, 3), name="image")
    features = ARCHITECTURES[params.architecture](image, params)
    logits = keras.layers.Dense(classes, name=LOGITS)(features)
    return keras.Model(image, keras.layers.Softmax(name="probabilities")(logits), name=params.architecture)


def logits_of(model: keras.Model) -> keras.Model:
    """Return the same network, sharing its weights, up to the logits: a loss computed on logits is exact."""
    return keras.Model(model.input, model.get_layer(LOGITS).output)


def count_parameters(model: keras.Model) -> int:
    """Count the trainable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_variables)


def _cnn(image: Any, params: ModelParams) -> Any:
    """Blocks of convolution, batch norm and ReLU, each at half the resolution of the one before, then global pooling.

    - The input is the logarithm of light, so that dark skins differ as much as bright ones: an eggplant's from a
      beetroot's, a nectarine's shadow from a pomegranate's.
    - The mean over all positions makes the network use surfaces rather than outlines: a side of a fruit that training
      never saw still has that fruit's skin. A dense layer over all positions memorises the outlines.
    """
    layers = keras.layers
    x = keras.ops.log(layers.Rescaling(1 / WHITE, offset=DARKEST, name="scale")(image))
    for block, filters in enumerate(params.cnn.filters, start=1):
        first = block == 1
        if not first:
            x = layers.MaxPooling2D(name=f"pool{block}")(x)
        kernel, stride = (5, 2) if first else (3, 1)
        convolution = layers.Conv2D(
            filters, kernel, strides=stride, padding="same", use_bias=False, name=f"convolution{block}"
        )
        norm = layers.BatchNormalization(momentum=MOMENTUM, name=f"norm{block}")
        x = layers.ReLU(name=f"relu{block}")(norm(convolution(x)))
    return layers.Dropout(params.cnn.dropout, name="dropout")(layers.GlobalAveragePooling2D(name="mean")(x))


def _linear(image: Any, params: ModelParams) -> Any:
    """A linear classifier, the baseline: every pixel's colour has a weight for every class."""
    scaled = keras.layers.Rescaling(1 / WHITE, name="scale")(image)
    return keras.layers.Flatten(name="pixels")(scaled)


ARCHITECTURES: dict[str, Callable[[Any, ModelParams], Any]] = {"cnn": _cnn, "linear": _linear}
"""Every architecture: from pixels (float32[N, S, S, 3], 0 to 255) to features (float32[N, F])."""
