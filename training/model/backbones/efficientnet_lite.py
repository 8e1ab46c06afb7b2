"""EfficientNet-Lite (Google 2020): EfficientNet without squeeze-and-excitation, with ReLU6, its stem and head not scaled.

Lite0 has 407 million multiply-adds at 224 pixels, Lite2 899 million at 260.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from training.model.backbones.inverted_residual import InvertedNetwork, InvertedStage

__all__ = ["LITE0", "LITE2", "LOGITS", "efficientnet_lite0", "efficientnet_lite2", "weight_names"]

LOGITS = "_fc"
"""The layer of the 1000 classes in the file of weights."""

MEAN, RANGE = 127.0, 128.0
DIVISOR = 8
"""Filters are a multiple of it."""

LITE0 = InvertedNetwork(
    stem=32,
    stages=(
        InvertedStage(expansion=1, filters=16, blocks=1, stride=1, kernel=3),
        InvertedStage(expansion=6, filters=24, blocks=2, stride=2, kernel=3),
        InvertedStage(expansion=6, filters=40, blocks=2, stride=2, kernel=5),
        InvertedStage(expansion=6, filters=80, blocks=3, stride=2, kernel=3),
        InvertedStage(expansion=6, filters=112, blocks=3, stride=1, kernel=5),
        InvertedStage(expansion=6, filters=192, blocks=4, stride=2, kernel=5),
        InvertedStage(expansion=6, filters=320, blocks=1, stride=1, kernel=3),
    ),
    head=1280,
    epsilon=1e-3,
    symmetric=False,
)


def _scale(network: InvertedNetwork, width: float, depth: float) -> InvertedNetwork:
    """Widen and deepen the stages; the first and the last keep their number of blocks, stem and head everything."""
    last = len(network.stages) - 1
    stages = (
        dataclasses.replace(
            stage,
            filters=_round_filters(stage.filters * width),
            blocks=stage.blocks if i in (0, last) else math.ceil(stage.blocks * depth),
        )
        for i, stage in enumerate(network.stages)
    )
    return dataclasses.replace(network, stages=tuple(stages))


def _round_filters(filters: float) -> int:
    """To the nearest multiple of `DIVISOR`, but never below 90 %."""
    rounded = max(DIVISOR, int(filters + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * filters else rounded


LITE2 = _scale(LITE0, width=1.1, depth=1.2)


def efficientnet_lite0(image: Any) -> Any:
    """Build the layers on `image`, float32[N, S, S, 3] with 0 to 255; returns [N, S/32, S/32, 1280]."""
    return LITE0.features(_to_range(image))


def efficientnet_lite2(image: Any) -> Any:
    """Build the layers on `image`, float32[N, S, S, 3] with 0 to 255; returns [N, S/32, S/32, 1280]."""
    return LITE2.features(_to_range(image))


def _to_range(image: Any) -> Any:
    return keras.layers.Rescaling(1 / RANGE, -MEAN / RANGE, name="scale")(image)


def weight_names(network: InvertedNetwork) -> dict[str, str]:
    """Each layer's name in the file of weights."""
    names = {"stem_convolution": "_conv_stem", "stem_norm": "_bn0"}
    for block in network.blocks():
        parts = ["expand", "depthwise", "project"]
        for i, part in enumerate(parts):
            if part != "expand" or block.expansion != 1:
                names[f"{block.name}_{part}"] = f"_blocks.{block.number - 1}._{part}_conv"
                names[f"{block.name}_{part}_norm"] = f"_blocks.{block.number - 1}._bn{i}"
    return {**names, "head_convolution": "_conv_head", "head_norm": "_bn1"}
