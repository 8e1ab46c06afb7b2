"""Networks by name, from a photo's pixels to the probabilities of the classes.

There are four kinds: networks of this module, which is a function from pixels to features and a line in `ARCHITECTURES`;
pretrained ones (`training.model.backbones.named`); those of ``keras.applications``; and functions of a user's project.
The architecture scales pixels to the range that it needs. Decoding and resizing are not part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from training.model.backbones.named import BACKBONES
from training.params import IMAGENET, PROJECT_NETWORK, RANDOM, ModelParams

__all__ = ["ARCHITECTURES", "build", "count_parameters", "logits_of"]

LOGITS, PROBABILITIES = "logits", "probabilities"
WHITE = 255.0

DARKEST = 0.02
"""Added to light (0 to 1) before the logarithm, so that noise in black is not amplified."""

MOMENTUM = 0.9
"""Momentum of batch normalisation's moving statistics. They converge within one epoch of the smallest dataset; with
Keras' default of 0.99 they do not. The running average of the weights smooths them anyway."""


def build(params: ModelParams, classes: int, size: int | None = None) -> keras.Model:
    """Build a network for so many classes, with the weights that the params name; seed Keras first.

    Args:
        params: the architecture and its weights.
        classes: number of classes; the last layer's weights are always random.
        size: pixels a side; None: that of the params. Networks that end in a mean over all positions have the same
            weights at every size.

    Returns:
        A model from ``image``, float32[N, S, S, 3] with 0 to 255, to ``probabilities``, float32[N, classes] that sum
        to 1.

    Raises:
        DataError: the weights' package or file is missing.
        IntegrityError: the weights are damaged.
        ParamsError: there is no such network, or it does not have the form that is needed.
    """
    size = size or params.image_size
    if PROJECT_NETWORK.fullmatch(params.architecture):
        network = build_project_network(params.architecture, size, classes)
        if params.pretrained:
            load_weights(network, params.weights)
        return keras.Model(network.input, keras.layers.Softmax(name=PROBABILITIES)(network.output), name="network")
    image = keras.Input((size, size, 3), name="image")
    logits = keras.layers.Dense(classes, name=LOGITS)(_features(image, params))
    model = keras.Model(image, keras.layers.Softmax(name=PROBABILITIES)(logits), name=params.architecture)
    if params.weights == IMAGENET:
        BACKBONES[params.architecture].load(model)
    return model


def _features(image: Any, params: ModelParams) -> Any:
    if params.architecture in ARCHITECTURES:
        return ARCHITECTURES[params.architecture](image, params)
    if params.architecture in BACKBONES:
        positions = BACKBONES[params.architecture].features(image)
    else:
        positions = keras_application(params.architecture, image, None if params.weights == RANDOM else params.weights)
    return keras.layers.GlobalAveragePooling2D(name="mean")(positions)


def logits_of(model: keras.Model) -> keras.Model:
    """Return the same network, sharing its weights, up to the logits: a loss computed on logits is exact."""
    return keras.Model(model.input, model.output._keras_history.operation.input)


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
