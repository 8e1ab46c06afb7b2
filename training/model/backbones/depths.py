"""How deep each weight of a network is, for learning rates that are lower towards the stem."""

from __future__ import annotations

import re

import keras

__all__ = ["weight_depths"]

BLOCK = re.compile(r"(.*?block_?\d+[a-z]?|stem|head)(?=_)")
"""The beginning of the name of a layer that is part of a block: `block3_expand`, `block_3_expand`, `block2a_se_reduce`."""


def weight_depths(model: keras.Model) -> dict[str, float]:
    """Return each weight's depth by its `path`: from 0, the stem, to 1, the last block and the layer of the classes.

    All layers of a block have the same depth; a layer outside of blocks is one of its own. The model is functional, with
    all layers in itself and not in a model inside of it; its last layer with weights is that of the classes.
    """
    layers = [layer for layer in model.layers if layer.weights]
    numbers: dict[str, int] = {}
    for layer in layers[:-1]:
        numbers.setdefault(_block(layer.name), len(numbers))
    last = max(len(numbers) - 1, 1)
    depths = {weight.path: numbers[_block(layer.name)] / last for layer in layers[:-1] for weight in layer.weights}
    return depths | {weight.path: 1.0 for layer in layers[-1:] for weight in layer.weights}


def _block(name: str) -> str:
    found = BLOCK.match(name)
    return found[1] if found else name
