"""Any network of `keras.applications` as a backbone, with random weights or those of a local file.

Nothing is downloaded: a training in a pod, offline or next year has the same weights.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from orchard.errors import IntegrityError, ParamsError
from training.model.backbones.frozen_norm import FrozenNorm

__all__ = ["KerasApplication", "application_names", "find_application", "stable_names"]

SUFFIXES = (".weights.h5", ".keras", ".h5")
DOWNLOADED = "imagenet"


@dataclass(frozen=True, slots=True)
class KerasApplication:
    """A network of `keras.applications`; made by `find_application`.

    Attributes:
        name: such as ``EfficientNetV2B0``.
        weights: the file of its weights; None: they are random.
    """

    name: str
    weights: Path | None

    def features(self, image: Any) -> Any:
        """Build its layers on `image`, float32[N, S, S, 3] with 0 to 255; returns float32[N, h, w, C].

        The network's own preprocessing is part of it. With weights, batch norms keep their statistics (`FrozenNorm`).

        Raises:
            ParamsError: the network refuses the size of the image.
        """
        size = image.shape[1]
        given = keras.Input((size, size, 3))
        network = keras.Model(given, self._build(size, _preprocessing(self.name)(given)).output)
        names = stable_names(network)
        made: dict[str, Any] = {}

        def copy(layer: Any) -> Any:
            norm = self.weights is not None and type(layer) is keras.layers.BatchNormalization
            kind = FrozenNorm if norm else type(layer)
            return kind.from_config({**layer.get_config(), "name": names[layer.name]})

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            made[layer.name] = layer(*args, **kwargs)
            return made[layer.name]

        keras.models.clone_model(network, input_tensors=image, clone_function=copy, call_function=call)
        return made[names[network.output._keras_history.operation.name]]

    def load(self, model: keras.Model) -> None:
        """Set the weights of the file, if there is one, into the layers of a model that was built with `features`.

        Raises:
            IntegrityError: the file cannot be read, or has other layers.
        """
        if self.weights is None:
            return
        size = model.input_shape[1]
        network = self._build(size, keras.Input((size, size, 3)))
        try:
            network.load_weights(self.weights)
        except Exception as error:  # h5py and Keras raise a dozen kinds
            raise IntegrityError(
                f"{self.weights} does not have the weights of keras.applications.{self.name} without its top: "
                f"{_first_line(error)}",
                hint=_how_to_get(self.name),
            ) from error
        names = stable_names(network)
        for layer in network.layers:
            if layer.weights:
                model.get_layer(names[layer.name]).set_weights(layer.get_weights())

    def _build(self, size: int, given: Any) -> keras.Model:
        function = getattr(keras.applications, self.name)
        try:
            return function(include_top=False, weights=None, input_tensor=given, input_shape=(size, size, 3))
        except ValueError as error:
            raise ParamsError(
                f"keras.applications.{self.name} cannot be built for photos of {size}×{size} pixels: "
                f"{_first_line(error)}",
                hint="change model.image_size or model.architecture in params.yaml",
            ) from error


def application_names() -> list[str]:
    """The networks of `keras.applications`, by name."""
    return sorted(name for name in dir(keras.applications) if name[0].isupper())


def find_application(name: str, weights: str | None = None) -> KerasApplication:
    """Return a network of `keras.applications`.

    Args:
        name: such as ``MobileNetV3Small``.
        weights: path of a file that Keras saved (`SUFFIXES`); None: random weights.

    Raises:
        ParamsError: there is no such network, no such file, or the weights would have to be downloaded.
    """
    known = application_names()
    if name not in known:
        lower = {other.lower(): other for other in known}
        near = [lower[other] for other in difflib.get_close_matches(name.lower(), lower, n=4)]
        raise ParamsError(
            f"keras.applications has no network {name!r}",
            hint=f"the nearest names: {', '.join(near)}" if near else f"its networks: {', '.join(known)}",
        )
    return KerasApplication(name, None if weights is None else _check_file(name, weights))


def stable_names(network: keras.Model) -> dict[str, str]:
    """Return a name for each layer's name, the same in every process.

    Keras numbers layers without a name by what else the process built; here each network's begin with 1.
    """
    counts: Counter[str] = Counter()
    names = {}
    for layer in network.operations:
        kind = _snake_case(type(layer).__name__)
        names[layer.name] = layer.name
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            counts[kind] += 1
            names[layer.name] = f"{kind}_{counts[kind]}"
    return names


def _check_file(name: str, weights: str) -> Path:
    if weights == DOWNLOADED:
        raise ParamsError(
            f"the weights {DOWNLOADED!r} of keras.applications.{name} would be downloaded while training; "
            "expected the path of a file",
            hint=_how_to_get(name),
        )
    if not weights.endswith(SUFFIXES):
        raise ParamsError(
            f"the weights {weights!r} are not a file that Keras saved: expected a name that ends with "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
            hint=_how_to_get(name),
        )
    if not Path(weights).is_file():
        raise ParamsError(f"there is no file of weights {weights} in {Path.cwd()}", hint=_how_to_get(name))
    return Path(weights)


def _how_to_get(name: str) -> str:
    return (
        "get the file once, on a machine with internet access, and keep it with the project: "
        f"python -c \"import keras; keras.applications.{name}(include_top=False, weights='imagenet')"
        f".save_weights('{name}.weights.h5')\""
    )


def _preprocessing(name: str) -> Callable[[Any], Any]:
    """The function that brings pixels from 0 to 255 into the network's range; several networks do so themselves."""
    module = sys.modules[getattr(keras.applications, name).__module__]
    preprocess: Callable[[Any], Any] = module.preprocess_input
    return preprocess


def _snake_case(name: str) -> str:
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
