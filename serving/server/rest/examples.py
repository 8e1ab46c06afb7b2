"""Reads the body of `:classify` and `:regress`: converts JSON objects into serialised tf.Example messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchard.savedmodel.wire import delimited, varint
from serving.server.rest.pretty import quote, type_name
from serving.server.rest.values import is_base64, to_bytes
from serving.server.runtime.tensors import Array
from serving.server.serving_error import invalid

__all__ = ["read_examples"]

_BYTES, _FLOAT, _INT64 = 1, 2, 3  # fields of Feature
_KINDS = {_BYTES: "bytes", _FLOAT: "float", _INT64: "int64"}
_INT64_RANGE = range(-(1 << 63), 1 << 63)


def _kind(value: Any, name: str) -> int:
    if isinstance(value, str) or is_base64(value):
        return _BYTES
    if isinstance(value, float):
        return _FLOAT
    if isinstance(value, bool | int):
        return _INT64
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _feature(value: Any, name: str) -> bytes:
    values = value if isinstance(value, list) else [value]
    feature_kind = 0
    for item in values:
        kind = _kind(item, name)
        if feature_kind and kind != feature_kind:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[feature_kind]}")
        if kind == _INT64 and item not in _INT64_RANGE:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        feature_kind = kind
    if not feature_kind:
        return b""
    if feature_kind == _BYTES:
        body = b"".join(delimited(1, to_bytes(item)) for item in values)
    elif feature_kind == _FLOAT:
        with np.errstate(over="ignore"):
            body = delimited(1, np.array(values, np.float64).astype("<f4").tobytes())
    else:
        body = delimited(1, b"".join(varint(int(item)) for item in values))
    return delimited(feature_kind, body)


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    features = (
        delimited(1, delimited(1, name.encode("utf-8", "surrogateescape")) + delimited(2, _feature(item, name)))
        for name, item in value.items()
    )
    return delimited(1, b"".join(features))


def read_examples(document: dict[str, Any]) -> Array:
    """Convert a `:classify` or `:regress` body into a vector of serialised tf.Example.

    The context's features precede those of each example; a parser of tf.Example merges them into one message.

    Raises:
        ServingError: in TF Serving's words.
    """
    context = _example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {quote(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {quote(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {quote(document)} 'examples' value is an empty array")
    array = np.empty(len(examples), object)
    array[:] = [context + _example(example) for example in examples]
    return array
