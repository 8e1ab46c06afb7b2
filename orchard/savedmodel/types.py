"""TensorFlow's element types: numbers in files and in the C API, names, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["REFERENCE", "STRING", "DataType", "all_types", "data_type", "is_reference", "tensor_type"]


@dataclass(frozen=True, slots=True)
class DataType:
    """An element type.

    Attributes:
        number: its number in `DataType` of TensorFlow's protocol and in the C API.
        name: the name in TensorFlow's messages, for example ``float``.
        proto: the name in metadata, for example ``DT_FLOAT``.
        numpy: the NumPy type of the same bytes, or "" (string, resource, variant, bfloat16 …).
        size: bytes of one element; for a string, of its descriptor.
    """

    number: int
    name: str
    proto: str
    numpy: str
    size: int

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the number, so that the type stays one object in another process too."""
        return data_type, (self.number,)


_ROWS = (
    (0, "INVALID", "DT_INVALID", "", 0),
    (1, "float", "DT_FLOAT", "float32", 4),
    (2, "double", "DT_DOUBLE", "float64", 8),
    (3, "int32", "DT_INT32", "int32", 4),
    (4, "uint8", "DT_UINT8", "uint8", 1),
    (5, "int16", "DT_INT16", "int16", 2),
    (6, "int8", "DT_INT8", "int8", 1),
    (7, "string", "DT_STRING", "", 24),
    (8, "complex64", "DT_COMPLEX64", "complex64", 8),
    (9, "int64", "DT_INT64", "int64", 8),
    (10, "bool", "DT_BOOL", "bool", 1),
    (11, "qint8", "DT_QINT8", "", 1),
    (12, "quint8", "DT_QUINT8", "", 1),
    (13, "qint32", "DT_QINT32", "", 4),
    (14, "bfloat16", "DT_BFLOAT16", "", 2),
    (15, "qint16", "DT_QINT16", "", 2),
    (16, "quint16", "DT_QUINT16", "", 2),
    (17, "uint16", "DT_UINT16", "uint16", 2),
    (18, "complex128", "DT_COMPLEX128", "complex128", 16),
    (19, "half", "DT_HALF", "float16", 2),
    (20, "resource", "DT_RESOURCE", "", 0),
    (21, "variant", "DT_VARIANT", "", 0),
    (22, "uint32", "DT_UINT32", "uint32", 4),
    (23, "uint64", "DT_UINT64", "uint64", 8),
    (24, "float8_e5m2", "DT_FLOAT8_E5M2", "", 1),
    (25, "float8_e4m3fn", "DT_FLOAT8_E4M3FN", "", 1),
    (26, "float8_e4m3fnuz", "DT_FLOAT8_E4M3FNUZ", "", 1),
    (27, "float8_e4m3b11fnuz", "DT_FLOAT8_E4M3B11FNUZ", "", 1),
    (28, "float8_e5m2fnuz", "DT_FLOAT8_E5M2FNUZ", "", 1),
    (29, "int4", "DT_INT4", "", 1),
    (30, "uint4", "DT_UINT4", "", 1),
    (31, "int2", "DT_INT2", "", 1),
    (32, "uint2", "DT_UINT2", "", 1),
    (33, "float4_e2m1fn", "DT_FLOAT4_E2M1FN", "", 1),
)
_TYPES = {row[0]: DataType(*row) for row in _ROWS}
REFERENCE = 100
"""A reference (to a variable of a TF1 graph) has this more than the number of its type."""

STRING = _TYPES[7]


def all_types() -> tuple[DataType, ...]:
    """Return every type, in the order of the numbers."""
    return tuple(_TYPES.values())


def is_reference(number: int) -> bool:
    """Whether a number means a reference."""
    return number > REFERENCE


def data_type(number: int) -> DataType:
    """Return the type of a number; for a reference (number + 100) the referenced type, for an unknown number INVALID."""
    return _TYPES.get(number - REFERENCE if is_reference(number) else number, _TYPES[0])


def tensor_type(name: str, shape: Sequence[int]) -> str:
    """Format a tensor's type as in manifests, for example ``float32[N,100,100,3]``.

    Args:
        name: the name of the element type.
        shape: the sizes of the axes; negative: any size (``N`` for the first axis, else ``?``).
    """
    axes = ["?" if size < 0 else str(size) for size in shape]
    if axes and shape[0] < 0:
        axes[0] = "N"
    return f"{name}[{','.join(axes)}]"
