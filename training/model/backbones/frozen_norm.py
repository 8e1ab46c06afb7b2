"""A batch norm whose statistics never move."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["FrozenNorm"]


@keras.saving.register_keras_serializable("orchard")
class FrozenNorm(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Batch norm in inference mode, also in training: the statistics stay those of the pretraining.

    A few photos a batch would make them worse. Gain and offset are trained. To call a plain batch norm with
    ``training=False`` is not enough: a model that is called with ``training=True`` overrides it.
    """

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Normalise by the stored statistics, whatever `training` is."""
        return super().call(inputs, training=False, mask=mask)
