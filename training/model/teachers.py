"""Distillation: networks that were trained before say what a new one learns to say, of the same varied photos.

The teachers see each batch as the student does, crops and patches included, so their answers differ from the labels where
a photo is ambiguous (arXiv:2106.05237). A student of several is often nearly as right as all of them together, and costs
no more than one of them where it is served.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from orchard import documents
from orchard.errors import DataError, IntegrityError, ParamsError
from training.model.candidate import KERAS_MODEL, TRAINING

__all__ = ["Teachers", "check_teachers", "describe_teachers"]

_HINT = "copy artifacts/candidate after training each, and name the copies in train.distillation.teachers"


class Teachers:
    """The mean of the probabilities of several networks.

    Args:
        folders: candidates; `check_teachers` has looked at them.

    Raises:
        DataError: a network is missing.
        IntegrityError: it cannot be read.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._networks = [_load(Path(folder)) for folder in folders]

    def __call__(self, images: Any) -> Any:
        """Return the probabilities, float32[N, C], of images, float32[N, S, S, 3] with 0 to 255 of any size S."""
        answers = [
            network(tf.image.resize(images, network.input_shape[1:3]), training=False) for network in self._networks
        ]
        return tf.add_n(answers) / len(answers)


def _load(folder: Path) -> keras.Model:
    path = folder / KERAS_MODEL
    if not path.exists():
        raise DataError(f"the teacher {folder} has no {KERAS_MODEL}", hint=_HINT)
    try:
        network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"the teacher {path} cannot be read: {error}", hint="train it again") from error
    network.trainable = False
    return network


def check_teachers(folders: Sequence[str], classes: Sequence[str]) -> None:
    """Check that candidates know the classes of a dataset, in its order.

    Raises:
        DataError: a folder is no candidate.
        ParamsError: its classes are others.
    """
    for folder in folders:
        try:
            own = json.loads((Path(folder) / TRAINING).read_text(encoding="utf-8"))["classes"]
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"the teacher {folder} is no candidate: {error}", hint=_HINT) from error
        if own != list(classes):
            other = sorted(set(own) ^ set(classes))
            raise ParamsError(
                f"the teacher {folder} has other classes than the dataset: {', '.join(other[:5]) or 'in another order'}",
                hint="train the teachers on the same classes",
            )


def describe_teachers(folders: Sequence[str]) -> dict[str, Any]:
    """What a candidate says of its teachers: ``teachers``, the folder and the SHA-256 (hex) of each; nothing without any.

    Raises:
        DataError: a network is missing.
    """
    found = []
    for folder in folders:
        try:
            body = (Path(folder) / KERAS_MODEL).read_bytes()
        except OSError as error:
            raise DataError(f"the teacher {folder} cannot be read: {error.strerror or error}", hint=_HINT) from error
        found.append({"from": folder, "sha256": documents.sha256_hex(body)})
    return {"teachers": found} if found else {}
