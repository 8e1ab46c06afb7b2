"""Answers to photos as they are: by class name, with the version that answered. They are always strict JSON.

An answer has the same form for one photo and for several. Numbers have the digits that they have in TF Serving's form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchard.savedmodel.types import STRING
from serving.server.batching import Outputs
from serving.server.rest.pretty import quote_string
from serving.server.rest.responses import number_texts, row_texts, text_of
from serving.server.runtime.tensors import Array
from serving.server.serving_error import invalid

__all__ = ["AnsweredBy", "photo_reply"]

_FLOATS = ("float", "double")
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """What answers.

    Attributes:
        model: the model's name.
        version: the version's number.
        channel: the channel that the request named; None: it named none.
    """

    model: str
    version: int
    channel: str | None


def _has(outputs: Outputs, alias: str, kinds: tuple[str, ...], rank: int) -> bool:
    """Whether there is an output of one of these types, with so many dimensions."""
    array, dtype = outputs.get(alias, (None, None))
    return array is not None and dtype is not None and dtype.name in kinds and array.ndim == rank


def _names_classes(outputs: Outputs) -> bool:
    """Whether the outputs are those of a model that training exports."""
    return _has(outputs, "label", (STRING.name,), 1) and _has(outputs, "probability", _FLOATS, 1)


def _pairs(labels: list[bytes], probabilities: Array) -> list[str]:
    texts = number_texts(probabilities, nulls=True)
    return [f'"label": {text_of(label)}, "probability": {text}' for label, text in zip(labels, texts, strict=True)]


def _top_texts(outputs: Outputs, top: int) -> list[str]:
    """Return for each photo the list of its best classes. Raises `ServingError` if the model does not name so many."""
    if not (_has(outputs, "classes", (STRING.name,), 2) and _has(outputs, "probabilities", _FLOATS, 2)):
        raise invalid("top is not supported by this model: it does not have the outputs classes and probabilities")
    names, probabilities = outputs["classes"][0], outputs["probabilities"][0]
    if names.shape != probabilities.shape:
        raise invalid("top is not supported by this model: its outputs classes and probabilities differ in shape")
    if top > names.shape[1]:
        raise invalid(f"top must be at most {names.shape[1]}, the number of classes, not {top}")
    texts = []
    for row, row_names in zip(probabilities, names, strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        texts.append("[" + ", ".join(f"{{{pair}}}" for pair in _pairs(row_names[best].tolist(), row[best])) + "]")
    return texts


def _named_texts(outputs: Outputs, top: int) -> list[str]:
    """Return the text of each photo's prediction."""
    members = _pairs(outputs["label"][0].tolist(), outputs["probability"][0])
    if _has(outputs, "unsure", ("bool",), 1):
        unsure = ["true" if value else "false" for value in outputs["unsure"][0].tolist()]
        members = [f'{member}, "unsure": {value}' for member, value in zip(members, unsure, strict=True)]
    if top:
        members = [f'{member}, "top": {text}' for member, text in zip(members, _top_texts(outputs, top), strict=True)]
    return [f"{_INDENT * 2}{{{member}}}" for member in members]


def _raw_texts(outputs: Outputs) -> list[str]:
    """Return the text of each photo's outputs, as TF Serving's row format has them."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    texts = row_texts(outputs, nulls=True)
    return texts if len(outputs) > 1 else [_INDENT * 2 + text for text in texts]


def photo_reply(outputs: Outputs, *, by: AnsweredBy, top: int = 0) -> bytes:
    """Return the response to photos.

    Args:
        outputs: arrays and their types, sorted by alias, with a row for each photo. Those of a model that names classes
            are `label`, `probability` and, if it has them, `unsure`, `classes` and `probabilities`; another model's are
            returned as they are.
        by: what answers.
        top: how many classes to name for each photo; 0: none.

    Raises:
        ServingError: the model does not name so many classes, or an output cannot be written as JSON.
    """
    if _names_classes(outputs):
        texts = _named_texts(outputs, top)
    elif top:
        raise invalid("top is not supported by this model: it does not have the outputs label and probability")
    else:
        texts = _raw_texts(outputs)
    lines = [f'"model": {quote_string(by.model)}', f'"version": {by.version}']
    if by.channel is not None:
        lines.append(f'"channel": {quote_string(by.channel)}')
    lines.append('"predictions": [\n' + ",\n".join(texts) + f"\n{_INDENT}]")
    return ("{\n" + ",\n".join(_INDENT + line for line in lines) + "\n}").encode("utf-8", "replace")
