"""TensorFlow's element types: numbers in files and in the C API, names, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["STRING", "DataType", "data_type", "tensor_type"]


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
)
_TYPES = {row[0]: DataType(*row) for row in _ROWS}
_REFERENCE = 100
STRING = _TYPES[7]


def data_type(number: int) -> DataType:
    """Return the type of a number; for a reference (number + 100) the referenced type, for an unknown number INVALID."""
    return _TYPES.get(number - _REFERENCE if number > _REFERENCE else number, _TYPES[0])


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
