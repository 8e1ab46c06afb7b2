"""Networks of inverted residual blocks: MobileNetV2 and EfficientNet-Lite differ in numbers, padding and epsilon only.

A block widens its input by a 1×1 convolution (``expand``), filters each channel on its own (``depthwise``) and narrows
it (``project``); where shapes allow, its input is added. Every convolution has no bias and is followed by a batch norm,
so that `training.model.fold` can include the norm in it.

Batch norms keep the statistics of ImageNet, also in fine-tuning (`FrozenNorm`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from training.model.backbones.frozen_norm import FrozenNorm

__all__ = ["InvertedBlock", "InvertedNetwork", "InvertedStage"]

MOST = 6.0
"""The maximum of the activation ReLU6."""


@dataclass(frozen=True, slots=True)
class InvertedStage:
    """Blocks of one width: how much wider inside, filters, number of blocks, stride of the first, size of the kernel."""

    expansion: int
    filters: int
    blocks: int
    stride: int
    kernel: int


@dataclass(frozen=True, slots=True)
class InvertedBlock:
    """One block; `number` counts from 1."""

    number: int
    expansion: int
    filters: int
    stride: int
    kernel: int

    @property
    def name(self) -> str:
        """The beginning of its layers' names."""
        return f"block{self.number}"


@dataclass(frozen=True, slots=True)
class InvertedNetwork:
    """A network of such blocks.

    Attributes:
        stem: filters of the first convolution, 3×3 with stride 2.
        stages: the blocks between.
        head: filters of the last convolution, 1×1.
        epsilon: of the batch norms.
        symmetric: pad as PyTorch does, equally on all sides; otherwise as TensorFlow does.
    """

    stem: int
    stages: tuple[InvertedStage, ...]
    head: int
    epsilon: float
    symmetric: bool

    def blocks(self) -> Iterator[InvertedBlock]:
        """Every block, in order."""
        number = 0
        for stage in self.stages:
            for repeat in range(stage.blocks):
                number += 1
                stride = stage.stride if repeat == 0 else 1
                yield InvertedBlock(number, stage.expansion, stage.filters, stride, stage.kernel)

    def features(self, scaled: Any) -> Any:
        """Build the layers on `scaled`, float32[N, S, S, 3]; returns [N, S/32, S/32, head]."""
        x = self._convolve(scaled, "stem_convolution", self.stem, kernel=3, stride=2)
        x = self._normalize(x, "stem")
        for block in self.blocks():
            x = self._add_block(x, block)
        return self._normalize(self._convolve(x, "head_convolution", self.head, kernel=1), "head")

    def _add_block(self, given: Any, block: InvertedBlock) -> Any:
        channels, x = given.shape[-1], given
        if block.expansion != 1:
            x = self._convolve(x, f"{block.name}_expand", block.expansion * channels, kernel=1)
            x = self._normalize(x, f"{block.name}_expand")
        x = self._convolve(x, f"{block.name}_depthwise", None, block.kernel, block.stride)
        x = self._normalize(x, f"{block.name}_depthwise")
        x = self._convolve(x, f"{block.name}_project", block.filters, kernel=1)
        x = self._normalize(x, f"{block.name}_project", activate=False)
        if block.stride == 1 and channels == block.filters:
            x = keras.layers.Add(name=f"{block.name}_add")([given, x])
        return x

    def _convolve(self, x: Any, name: str, filters: int | None, kernel: int, stride: int = 1) -> Any:
        """A convolution without bias; without `filters` one for each channel."""
        padding = "same"
        if self.symmetric and stride > 1:  # with stride 1 the two ways are equal
            x, padding = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_padding")(x), "valid"
        options = {"strides": stride, "padding": padding, "use_bias": False, "name": name}
        if filters is None:
            return keras.layers.DepthwiseConv2D(kernel, **options)(x)
        return keras.layers.Conv2D(filters, kernel, **options)(x)

    def _normalize(self, x: Any, name: str, *, activate: bool = True) -> Any:
        x = FrozenNorm(epsilon=self.epsilon, name=f"{name}_norm")(x)
        return keras.layers.ReLU(MOST, name=f"{name}_relu")(x) if activate else x
