"""The pretrained backbones by name.

image = keras.Input((size, size, 3))
model = keras.Model(image, head(BACKBONES["mobilenet_v2"].features(image)))
BACKBONES["mobilenet_v2"].load(model)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from orchard.errors import IntegrityError
from training.model.backbones import efficientnet_lite, mobilenet_v2
from training.model.backbones.torch_file import read_torch_file
from training.model.backbones.weights_packages import WEIGHTS, read_weights

__all__ = ["BACKBONES", "IMAGENET_CLASSES", "IMAGENET_LOGITS", "Backbone"]

IMAGENET_CLASSES = 1000
IMAGENET_LOGITS = "imagenet_logits"
"""The layer of `Backbone.classifier` with the classes of ImageNet; other models lack it."""

STEPS = "num_batches_tracked"
"""Ends the names of counters in the file of weights, which a network at work does not need."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network with ImageNet weights.

    Attributes:
        name: as in `model.architecture` of params.yaml and in `WEIGHTS`.
        size: pixels a side of the photos that it was trained with.
        features: builds its layers on an image, float32[N, S, S, 3] with 0 to 255, which it scales itself; returns
            float32[N, h, w, C].
        weight_names: each layer's name in the file of weights.
    """

    name: str
    size: int
    features: Callable[[Any], Any]
    weight_names: Mapping[str, str] = field(repr=False)

    def load(self, model: keras.Model) -> None:
        """Set the ImageNet weights into the layers of a model that was built with `features`.

        Every array of the file is used; those of the ImageNet classes only if the model has `IMAGENET_LOGITS`.

        Raises:
            MissingExtra: the package of the weights is not installed.
            IntegrityError: the file of weights is not the expected one.
        """
        arrays = read_torch_file(read_weights(self.name), WEIGHTS[self.name].path)
        unused = {name for name in arrays if not name.endswith(STEPS)}
        known = {layer.name for layer in model.layers}
        for layer_name, name in self.weight_names.items():
            names = [key for key in _array_names(name) if key in arrays]
            unused.difference_update(names)
            if layer_name in known or layer_name != IMAGENET_LOGITS:
                layer = model.get_layer(layer_name)
                layer.set_weights([_to_keras(layer, arrays[key]) for key in names])
        if unused:
            raise IntegrityError(
                f"the weights of {self.name} have {len(unused)} arrays that the network lacks: {sorted(unused)[:5]}"
            )

    def classifier(self) -> keras.Model:
        """Build the network of ImageNet's 1000 classes, with its weights: from ``image`` to logits, [N, 1000]."""
        image = keras.Input((self.size, self.size, 3), name="image")
        pooled = keras.layers.GlobalAveragePooling2D(name="mean")(self.features(image))
        logits = keras.layers.Dense(IMAGENET_CLASSES, name=IMAGENET_LOGITS)(pooled)
        model = keras.Model(image, logits, name=self.name)
        self.load(model)
        return model


def _array_names(name: str) -> list[str]:
    """The arrays that a layer can have in the file, in the order of Keras's weights."""
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def _to_keras(layer: Any, array: Array) -> Array:
    """An array in the order of Keras's axes; in PyTorch the outputs come first."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        axes: tuple[int, ...] = (2, 3, 0, 1)
    else:
        axes = (2, 3, 1, 0) if array.ndim == 4 else tuple(reversed(range(array.ndim)))
    return np.ascontiguousarray(array.transpose(axes))


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "mobilenet_v2",
            224,
            mobilenet_v2.mobilenet_v2,
            {**mobilenet_v2.weight_names(), IMAGENET_LOGITS: mobilenet_v2.LOGITS},
        ),
        Backbone(
            "efficientnet_lite0",
            224,
            efficientnet_lite.efficientnet_lite0,
            {**efficientnet_lite.weight_names(efficientnet_lite.LITE0), IMAGENET_LOGITS: efficientnet_lite.LOGITS},
        ),
        Backbone(
            "efficientnet_lite2",
            260,
            efficientnet_lite.efficientnet_lite2,
            {**efficientnet_lite.weight_names(efficientnet_lite.LITE2), IMAGENET_LOGITS: efficientnet_lite.LOGITS},
        ),
    )
}
"""Every backbone whose weights are in a package."""
