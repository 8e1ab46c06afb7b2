"""Batch norm folded into the layer before it: the same function with fewer operations.

At inference, batch norm is a multiplication and an addition for every channel, so a convolution, depthwise convolution
or dense layer that feeds nothing but a batch norm can include both in its own kernel and bias.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

__all__ = ["fold"]

Array = npt.NDArray[np.float64]
FOLDABLE = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold(model: keras.Model) -> keras.Model:
    """Return the model for inference: batch norms folded where possible, dropout removed.

    The argument is a functional model; it is not changed.
    """
    norms = {norm.name: layer.name for norm, layer in _foldable_pairs(model)}
    folded = set(norms.values())
    removed = {*norms, *(layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout))}

    def copy(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config({**config, "use_bias": True} if layer.name in folded else config)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in removed else layer(*args, **kwargs)

    result = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in result.layers:
        if layer.weights and layer.name not in folded:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    for name, layer_name in norms.items():
        weights = _fold_weights(model.get_layer(layer_name), model.get_layer(name))
        result.get_layer(layer_name).set_weights(weights)
    return result


def _foldable_pairs(model: keras.Model) -> list[tuple[Any, Any]]:
    """Every batch norm, with the layer before it, that can be folded into it."""
    pairs = []
    for norm in model.layers:
        if not isinstance(norm, keras.layers.BatchNormalization) or len(norm._inbound_nodes) != 1:
            continue
        layer = norm._inbound_nodes[0].input_tensors[0]._keras_history.operation
        if type(layer) in FOLDABLE and _feeds_only(layer, model) and _is_linear(layer) and _same_axis(layer, norm):
            pairs.append((norm, layer))
    return pairs


def _feeds_only(layer: Any, model: keras.Model) -> bool:
    """Whether a layer is used once, by one layer, and is not an output of the model."""
    outputs = {output._keras_history.operation.name for output in model.outputs}
    return len(layer._inbound_nodes) == 1 and len(layer._outbound_nodes) == 1 and layer.name not in outputs


def _is_linear(layer: Any) -> bool:
    return layer.activation is None or layer.activation is keras.activations.linear


def _same_axis(layer: Any, norm: Any) -> bool:
    """Whether the norm is over the layer's channels, the last axis."""
    axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]
    rank = len(norm._inbound_nodes[0].input_tensors[0].shape)
    return axis % rank == rank - 1 and getattr(layer, "data_format", "channels_last") == "channels_last"


def _fold_weights(layer: Any, norm: Any) -> list[npt.NDArray[np.float32]]:
    """The kernel and the bias that replace layer and norm; computed in float64."""
    mean, variance = _float64(norm.moving_mean), _float64(norm.moving_variance)
    gamma = _float64(norm.gamma) if norm.scale else np.ones_like(mean)
    beta = _float64(norm.beta) if norm.center else np.zeros_like(mean)
    gain = gamma / np.sqrt(variance + norm.epsilon)
    bias = _float64(layer.bias) if layer.use_bias else np.zeros_like(mean)
    kernel = _float64(layer.kernel)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)  # [height, width, channels, multiplier]
    factor = gain.reshape(1, 1, *kernel.shape[2:]) if depthwise else gain
    return [(kernel * factor).astype(np.float32), (beta + (bias - mean) * gain).astype(np.float32)]


def _float64(variable: Any) -> Array:
    values: Array = np.asarray(variable, np.float64)
    return values
