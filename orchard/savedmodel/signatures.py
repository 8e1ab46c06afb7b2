"""The signatures of a SavedModel: of `saved_model.pb` or, without one, of `saved_model.pbtxt`."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchard.savedmodel.text_document import MAX_TEXT_BYTES, parse_text_document
from orchard.savedmodel.types import DataType, data_type, is_reference
from orchard.savedmodel.wire import WireError, fields, signed

__all__ = [
    "FILE_NAME",
    "TEXT_FILE_NAME",
    "SignatureDef",
    "TensorDim",
    "TensorInfo",
    "decode_text",
    "map_document",
    "map_entry",
    "meta_graphs",
    "read_document",
    "read_signatures",
    "served_meta_graph",
    "signatures_of",
    "tensor_shape",
]

FILE_NAME = "saved_model.pb"
TEXT_FILE_NAME = "saved_model.pbtxt"
"""The same in protobuf's text format; like TensorFlow's loader, we read it only if there is no `saved_model.pb`."""

SERVE_TAG = "serve"


@dataclass(frozen=True, slots=True)
class TensorDim:
    """One declared dimension: its size (-1: any) and its name, which is nearly always empty."""

    size: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a signature.

    Attributes:
        name: ``operation:index`` in the graph.
        dtype: its element type.
        shape: its declared dimensions; None: their number is not declared.
        reference: it refers to a variable of a TF1 graph; only descriptions show that.
    """

    name: str
    dtype: DataType
    shape: tuple[TensorDim, ...] | None
    reference: bool = False


@dataclass(frozen=True, slots=True)
class SignatureDef:
    """A callable function of the model.

    Attributes:
        inputs: the inputs by alias, sorted by alias.
        outputs: the outputs, likewise.
        method_name: what it is for, such as ``tensorflow/serving/predict``.
        defaults: for inputs that a request may leave out, the TensorProto to feed, serialised.
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    method_name: str
    defaults: dict[str, bytes] = field(default_factory=dict)


def decode_text(body: memoryview) -> str:
    """Decode a string field; invalid UTF-8 becomes surrogates."""
    return bytes(body).decode("utf-8", "surrogateescape")


def map_entry(body: memoryview) -> tuple[str, memoryview]:
    """Return the key and the value's bytes of a map's entry; a value given twice is merged, as protobuf merges messages."""
    name, values = "", []
    for number, _, _, inner in fields(body):
        if number == 1:
            name = decode_text(inner)
        elif number == 2:
            values.append(inner)
    if len(values) < 2:
        return name, values[0] if values else memoryview(b"")
    return name, memoryview(b"".join(values))


def tensor_shape(body: memoryview) -> tuple[TensorDim, ...] | None:
    """Return the dimensions of a TensorShapeProto; None: their number is unknown."""
    dims: list[TensorDim] = []
    for number, _, value, inner in fields(body):
        if number == 2:
            size, name = 0, ""
            for part, _, size_value, text in fields(inner):
                size, name = (signed(size_value), name) if part == 1 else (size, decode_text(text))
            dims.append(TensorDim(size, name))
        elif number == 3 and value:
            return None
    return tuple(dims)


def _tensor_info(body: memoryview) -> TensorInfo:
    name, dtype, shape = "", 0, tensor_shape(memoryview(b""))
    for number, _, value, inner in fields(body):
        if number == 1:
            name = decode_text(inner)
        elif number == 2:
            dtype = value
        elif number == 3:
            shape = tensor_shape(inner)
    return TensorInfo(name, data_type(dtype), shape, is_reference(dtype))


def _signature(body: memoryview) -> SignatureDef:
    inputs: dict[str, TensorInfo] = {}
    outputs: dict[str, TensorInfo] = {}
    defaults: dict[str, bytes] = {}
    method = ""
    for number, _, _, inner in fields(body):
        if number in (1, 2):
            alias, value = map_entry(inner)
            (inputs if number == 1 else outputs)[alias] = _tensor_info(value)
        elif number == 3:
            method = decode_text(inner)
        elif number == 4:
            alias, value = map_entry(inner)
            defaults[alias] = bytes(value)
    return SignatureDef(dict(sorted(inputs.items())), dict(sorted(outputs.items())), method, defaults)


def meta_graphs(document: memoryview | bytes) -> Iterator[memoryview]:
    """Yield each MetaGraphDef of a SavedModel."""
    for number, _, _, body in fields(document):
        if number == 2:
            yield body


def _tags(meta_graph: memoryview) -> set[str]:
    return {
        decode_text(tag)
        for number, _, _, info in fields(meta_graph)
        if number == 1
        for part, _, _, tag in fields(info)
        if part == 4
    }


def served_meta_graph(document: memoryview | bytes) -> memoryview | None:
    """Return the MetaGraphDef whose only tag is ``serve``: the one that an engine loads."""
    return next((graph for graph in meta_graphs(document) if _tags(graph) == {SERVE_TAG}), None)


def map_document(folder: Path) -> memoryview:
    """Map the bytes of a SavedModel: bytes that are skipped take no memory. A text file is converted.

    The file must not be truncated meanwhile: the kernel would end this process.

    Raises:
        OSError: there is no readable `saved_model.pb` or `saved_model.pbtxt`.
        WireError: the text is malformed or too large.
    """
    if not (folder / FILE_NAME).exists() and (folder / TEXT_FILE_NAME).exists():
        return _read_text(folder / TEXT_FILE_NAME)
    with (folder / FILE_NAME).open("rb") as file:
        if not file.seek(0, 2):
            return memoryview(b"")  # an empty file cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_document(folder: Path) -> memoryview:
    """Read the bytes of a SavedModel, which may change meanwhile; otherwise like `map_document`."""
    if not (folder / FILE_NAME).exists() and (folder / TEXT_FILE_NAME).exists():
        return _read_text(folder / TEXT_FILE_NAME)
    return memoryview((folder / FILE_NAME).read_bytes())


def _read_text(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(parse_text_document(file.read(MAX_TEXT_BYTES + 1)))


def signatures_of(document: memoryview | bytes) -> dict[str, SignatureDef]:
    """Return the signatures that an engine would serve from a SavedModel, sorted by name.

    Raises:
        WireError: it is not a SavedModel, or has no graph for serving.
    """
    graph = served_meta_graph(document)
    if graph is None:
        raise WireError("Could not find meta graph def matching supplied tags: { serve }")
    entries = (map_entry(body) for number, _, _, body in fields(graph) if number == 5)
    return dict(sorted((name, _signature(value)) for name, value in entries))


def read_signatures(folder: Path) -> dict[str, SignatureDef]:
    """Read the signatures of the SavedModel in a folder; see `signatures_of`.

    Raises:
        OSError: there is no readable `saved_model.pb` or `saved_model.pbtxt`.
        WireError: it is not a SavedModel, or has no graph for serving.
    """
    return signatures_of(read_document(folder))
