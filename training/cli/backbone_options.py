"""The options of verbs that look at photos through pretrained backbones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from training.model.backbones.weights_packages import WEIGHTS
from training.params import Params

__all__ = ["BACKBONES", "DEFAULT_BACKBONE", "backbone_option", "choose_backbones", "load_libraries", "source_option"]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

BACKBONES = tuple(sorted(WEIGHTS))

DEFAULT_BACKBONE = "mobilenet_v2"
"""The backbone of a model that is not a pretrained one: the best single one (docs/training.md)."""


def backbone_option(default: str) -> Decorator:
    """The option ``--backbone``, once or several times; `default` says what holds without it."""
    text = f"A pretrained backbone; several: their features side by side. Default: {default}."
    return click.option("--backbone", "backbones", type=click.Choice(BACKBONES), multiple=True, help=text)


def source_option() -> Decorator:
    """The option ``--source``, once or several times."""
    text = "Only photos of this source, such as shop. Default: all."
    return click.option("--source", "sources", metavar="NAME", multiple=True, help=text)


def choose_backbones(named: tuple[str, ...], params: Params) -> list[str]:
    """The named backbones; without any, the one that the params train, or the default one."""
    if named:
        return list(dict.fromkeys(named))
    architecture = params.model.architecture
    return [architecture if architecture in WEIGHTS else DEFAULT_BACKBONE]


def load_libraries() -> None:
    """Import scikit-learn and TensorFlow, so that a missing one is reported before any work."""
    import sklearn  # noqa: F401

    from training.model.backend import tensorflow

    tensorflow()
