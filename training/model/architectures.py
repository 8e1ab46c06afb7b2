"""Networks by name, from a photo's pixels to the probabilities of the classes.

There are four kinds: networks of this module, which is a function from pixels to features and a line in `ARCHITECTURES`;
pretrained ones (`training.model.backbones.named`); those of ``keras.applications``; and functions of a user's project.
The architecture scales pixels to the range that it needs. Decoding and resizing are not part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from orchard import documents
from orchard.errors import DataError, IntegrityError
from training.model.backbones.keras_applications import KerasApplication, find_application
from training.model.backbones.named import BACKBONES, Backbone
from training.model.backbones.project_network import build_project_network, source_digest
from training.model.backbones.weights_packages import WEIGHTS
from training.params import PROJECT_NETWORK, ModelParams

__all__ = ["ARCHITECTURES", "build", "count_parameters", "describe_origin", "logits_of"]

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
        return _build_own(params, classes, size)
    image = keras.Input((size, size, 3), name="image")
    if params.architecture in ARCHITECTURES:
        features, source = ARCHITECTURES[params.architecture](image, params), None
    else:
        source = _source(params)
        features = keras.layers.GlobalAveragePooling2D(name="mean")(source.features(image))
    model = _answer(image, keras.layers.Dense(classes, name=LOGITS)(features), params.architecture)
    if source:
        source.load(model)
    return model


def _answer(image: Any, logits: Any, name: str) -> keras.Model:
    return keras.Model(image, keras.layers.Softmax(name=PROBABILITIES)(logits), name=name)


def _source(params: ModelParams) -> Backbone | KerasApplication:
    """What gives a network all layers but the last, and their weights."""
    if params.architecture in BACKBONES:
        return BACKBONES[params.architecture]
    return find_application(params.architecture, params.weights if params.pretrained else None)


def _build_own(params: ModelParams, classes: int, size: int) -> keras.Model:
    """Build a network of the user's project."""
    network = build_project_network(params.architecture, size, classes)
    if params.pretrained:
        try:
            network.load_weights(params.weights)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise IntegrityError(
                f"{params.weights} does not have the weights of {params.architecture} for {classes} classes: {error}",
                hint="save them with `network.save_weights(path)`, to a path that ends with .weights.h5",
            ) from error
    return _answer(network.input, network.output, "network")


def describe_origin(params: ModelParams) -> dict[str, Any]:
    """What a candidate says of the network's origin: ``pretrained``, its first weights; ``network``, its code.

    Each is missing if there is nothing to say: the weights are random, the network is one of Orchard's or Keras's.

    Raises:
        DataError: the file of weights cannot be read.
        ParamsError: the project does not have the network.
    """
    network = {}
    if PROJECT_NETWORK.fullmatch(params.architecture):
        network = {"network": {"from": params.architecture, "sha256": source_digest(params.architecture)}}
    if not params.pretrained:
        return network
    if params.architecture in BACKBONES:
        found = WEIGHTS[params.architecture]
        facts = {
            "from": f"{found.source}, in the package {found.package} {found.version}",
            "sha256": found.sha256,
            "licence": found.licence,
        }
    else:
        try:
            body = Path(params.weights).read_bytes()
        except OSError as error:
            raise DataError(
                f"the weights {params.weights} cannot be read: {error.strerror or error}",
                hint="model.weights in params.yaml is a path from the folder that the command runs in",
            ) from error
        facts = {"from": params.weights, "sha256": documents.sha256_hex(body)}
    return {**network, "pretrained": facts}


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
