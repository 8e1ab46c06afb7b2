"""The Open Inference Protocol's names of element types."""

from __future__ import annotations

from orchard.savedmodel.types import DataType

__all__ = ["DATATYPES", "datatype_of"]

_NAMES = {
    **{"bool": "BOOL", "string": "BYTES", "half": "FP16", "bfloat16": "BF16", "float": "FP32", "double": "FP64"},
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}

DATATYPES = tuple(_NAMES.values())


def datatype_of(dtype: DataType) -> str:
    """Return the protocol's name of a type; TensorFlow's, if the protocol does not have it."""
    return _NAMES.get(dtype.name, dtype.proto)
