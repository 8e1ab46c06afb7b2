"""MobileNetV2 (Sandler et al. 2018) as torchvision trained it: 300 million multiply-adds at 224 pixels."""

from __future__ import annotations

from typing import Any

import keras

from training.model.backbones.inverted_residual import InvertedNetwork, InvertedStage

__all__ = ["LOGITS", "NETWORK", "mobilenet_v2", "weight_names"]

LOGITS = "classifier.1"
"""The layer of the 1000 classes in the file of weights."""

WHITE = 255.0
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, in light from 0 to 1."""

NETWORK = InvertedNetwork(
    stem=32,
    stages=(
        InvertedStage(expansion=1, filters=16, blocks=1, stride=1, kernel=3),
        InvertedStage(expansion=6, filters=24, blocks=2, stride=2, kernel=3),
        InvertedStage(expansion=6, filters=32, blocks=3, stride=2, kernel=3),
        InvertedStage(expansion=6, filters=64, blocks=4, stride=2, kernel=3),
        InvertedStage(expansion=6, filters=96, blocks=3, stride=1, kernel=3),
        InvertedStage(expansion=6, filters=160, blocks=3, stride=2, kernel=3),
        InvertedStage(expansion=6, filters=320, blocks=1, stride=1, kernel=3),
    ),
    head=1280,
    epsilon=1e-5,
    symmetric=True,
)


def mobilenet_v2(image: Any) -> Any:
    """Build the layers on `image`, float32[N, S, S, 3] with 0 to 255; returns [N, S/32, S/32, 1280]."""
    scale = [1 / (WHITE * deviation) for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    return NETWORK.features(keras.layers.Rescaling(scale, offset, name="scale")(image))


def weight_names() -> dict[str, str]:
    """Each layer's name in the file of weights."""
    names = {"stem_convolution": "features.0.0", "stem_norm": "features.0.1"}
    blocks = list(NETWORK.blocks())
    for block in blocks:
        parts = ["expand", "depthwise"] if block.expansion != 1 else ["depthwise"]
        for i, part in enumerate(parts):
            names[f"{block.name}_{part}"] = f"features.{block.number}.conv.{i}.0"
            names[f"{block.name}_{part}_norm"] = f"features.{block.number}.conv.{i}.1"
        names[f"{block.name}_project"] = f"features.{block.number}.conv.{len(parts)}"
        names[f"{block.name}_project_norm"] = f"features.{block.number}.conv.{len(parts) + 1}"
    head = f"features.{len(blocks) + 1}"
    return {**names, "head_convolution": f"{head}.0", "head_norm": f"{head}.1"}
