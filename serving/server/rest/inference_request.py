"""Reads the body of `…/infer`: the Open Inference Protocol's JSON tensors.

The protocol: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md. It does
not say what a JSON string of type BYTES is (its issue 12 asks). Triton's client and KServe send UTF-8 text, so that is the
default. For bytes that are no text, photos, we read MLServer's parameter `content_type: base64`
(https://docs.seldon.ai/mlserver/user-guide/content-type), of an input or, because Triton's client can set only those, of the
request. The binary tensor data extension and the other extensions of Triton are refused.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchard.savedmodel.signatures import TensorInfo
from orchard.savedmodel.types import STRING
from serving.server.rest.pretty import shape_text
from serving.server.rest.tensor_names import datatype_of
from serving.server.rest.values import dense_tensor
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError, invalid

__all__ = ["BINARY_HEADER", "InferenceHead", "no_binary_tensors", "read_inference_head", "read_tensors"]

BINARY_HEADER = "inference-header-content-length"
_EXTENSIONS = ("binary_data_size", "shared_memory_region", "classification")
"""Parameters that change what a tensor is. Of the others, `binary_data` and `binary_data_output` ask for a form of the
answer, which says itself what it is: JSON."""
_SMALL = ("int8", "int16", "uint8")


@dataclass(frozen=True, slots=True)
class InferenceHead:
    """What a request says beside its tensors.

    Attributes:
        id: the identifier that the answer repeats; None: it has none.
        signature: the signature that answers; "": serving_default.
        outputs: the outputs to return, and whether their strings are to be base64; empty: all.
    """

    id: str | None
    signature: str
    outputs: dict[str, bool]

    def check_outputs(self, known: Iterable[str]) -> None:
        """Raise `ServingError` if the signature does not have a requested output."""
        unknown = sorted(set(self.outputs) - set(known))
        if unknown:
            raise invalid(f"No such output: {unknown[0][:64]}; the signature has {', '.join(sorted(known))}")


def no_binary_tensors() -> ServingError:
    """Return the error for the binary tensor data extension."""
    return invalid(
        "The binary tensor data extension is not supported: send tensors as JSON, photos as base64 with the parameter "
        "content_type: base64 (in tritonclient binary_data=False), or use POST /v1/models/NAME:predict or gRPC"
    )


def _members(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{what} must be a JSON object")
    return value


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid(f"{what} must be a JSON array")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"{what} must be a string")
    return value


def _parameters(holder: dict[str, Any], what: str) -> dict[str, Any]:
    found = _members(holder.get("parameters", {}), f"parameters of {what}")
    extension = next((name for name in _EXTENSIONS if name in found), None)
    if extension == "binary_data_size":
        raise no_binary_tensors()
    if extension:
        raise invalid(f"The parameter {extension} of {what} is not supported")
    return found


def _is_base64(parameters: dict[str, Any], what: str) -> bool | None:
    """Whether the strings are base64; None: the parameters do not say it."""
    content_type = parameters.get("content_type")
    if content_type not in (None, "str", "base64"):
        raise invalid(f"content_type of {what} may be str or base64 where the datatype is BYTES")
    return None if content_type is None else bool(content_type == "base64")


def read_inference_head(document: dict[str, Any]) -> InferenceHead:
    """Read everything but the tensors of a parsed body. Raises `ServingError` INVALID_ARGUMENT."""
    parameters = _parameters(document, "the request")
    outputs: dict[str, bool] = {}
    for item in _listed(document.get("outputs", []), "outputs"):
        name = _text(_members(item, "An element of outputs").get("name"), "The name of an output")
        what = f"output {name[:64]}"
        wanted = _parameters(item, what)
        outputs[name] = wanted.get("content_type") == "base64"
    signature = _text(parameters.get("signature_name", ""), "The parameter signature_name")
    given = document.get("id")
    return InferenceHead(None if given is None else _text(given, "id"), signature, outputs)


def _shape(value: Any, name: str) -> tuple[int, ...]:
    sizes = _listed(value, f"shape of input {name[:64]}")
    if any(type(size) is not int or size < 0 for size in sizes):
        raise invalid(f"shape of input {name[:64]} must have whole numbers from 0")
    return tuple(sizes)


def _as_base64(value: Any) -> Any:
    return [_as_base64(item) for item in value] if isinstance(value, list) else {"b64": value}


def _tensor(item: dict[str, Any], name: str, info: TensorInfo, inherited: bool) -> Array:
    """Convert an input: its data is nested as its shape is, or flat in row-major order."""
    what = f"input {name[:64]}"
    parameters, shape = _parameters(item, what), _shape(item.get("shape"), name)
    if item.get("datatype") != datatype_of(info.dtype):
        raise invalid(f"datatype of {what} must be {datatype_of(info.dtype)}")
    data = _listed(item.get("data"), f"data of {what}")
    if info.dtype is STRING:
        own = _is_base64(parameters, what)
        data = _as_base64(data) if (inherited if own is None else own) else data
    try:
        array = dense_tensor(data, info.dtype)
    except ServingError as error:
        raise ServingError(error.code, f"data of {what}: {error.message}", http_status=error.http_status) from error
    if info.dtype.name in _SMALL and not np.array_equal(np.array(data, np.int64), array):
        raise invalid(f"data of {what} has values beyond the range of {datatype_of(info.dtype)}")
    if array.shape != shape and (array.ndim != 1 or array.size != math.prod(shape)):
        raise invalid(f"data of {what} has the shape {shape_text(array.shape)}, which is not {shape_text(shape)}")
    return array.reshape(shape)


def read_tensors(
    document: dict[str, Any], inputs: Mapping[str, TensorInfo], defaults: Container[str] = ()
) -> dict[str, Array]:
    """Convert the inputs of a parsed body into tensors.

    Args:
        document: the body.
        inputs: the signature's inputs by alias.
        defaults: the inputs that a request may leave out.

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for a type that JSON cannot carry.
    """
    items: dict[str, dict[str, Any]] = {}
    for value in _listed(document.get("inputs"), "inputs"):
        item = _members(value, "An element of inputs")
        name = _text(item.get("name"), "The name of an input")
        if name not in inputs or name in items:
            problem = (
                "is there twice" if name in items else f"is unknown; the signature has {', '.join(inputs) or 'none'}"
            )
            raise invalid(f"The input {name[:64]} {problem}")
        items[name] = item
    missing = [name for name in inputs if name not in items and name not in defaults]
    if missing:
        raise invalid(f"The input {missing[0]} is missing")
    inherited = bool(_is_base64(_parameters(document, "the request"), "the request")) if _has_strings(inputs) else False
    return {name: _tensor(item, name, inputs[name], inherited) for name, item in items.items()}


def _has_strings(inputs: Mapping[str, TensorInfo]) -> bool:
    return any(info.dtype is STRING for info in inputs.values())
