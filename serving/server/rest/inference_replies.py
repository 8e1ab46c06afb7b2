"""The Open Inference Protocol's answers: outputs as tensors, and descriptions of server and model. Always strict JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson
import pybase64

from orchard import __version__
from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from orchard.savedmodel.types import STRING, DataType
from serving.server.batching import Outputs
from serving.server.rest.inference_request import InferenceHead
from serving.server.rest.photo_replies import AnsweredBy
from serving.server.rest.pretty import quote_string
from serving.server.rest.responses import leaf_texts
from serving.server.rest.tensor_names import datatype_of
from serving.server.runtime.tensors import Array

__all__ = ["inference_reply", "model_reply", "server_reply"]

_PLATFORM = "tensorflow_savedmodel"
"""Triton's name, which the protocol's examples have."""


def server_reply() -> bytes:
    """Return the description of the server."""
    return orjson.dumps({"name": "orchard", "version": __version__, "extensions": []})


def _tensors(infos: Mapping[str, TensorInfo]) -> list[dict[str, object]]:
    """Describe tensors; of one whose number of dimensions is not declared, one dimension of any size is."""
    return [
        {
            "name": alias.encode("utf-8", "replace").decode(),
            "datatype": datatype_of(info.dtype),
            "shape": [-1] if info.shape is None else [dim.size for dim in info.shape],
        }
        for alias, info in infos.items()
    ]


def model_reply(model: str, versions: Iterable[int], signature: SignatureDef) -> bytes:
    """Return the description of a model.

    Args:
        model: its name.
        versions: those that a request may name.
        signature: what is described.
    """
    return orjson.dumps(
        {
            "name": model,
            "versions": [str(version) for version in versions],
            "platform": _PLATFORM,
            "inputs": _tensors(signature.inputs),
            "outputs": _tensors(signature.outputs),
        }
    )


def _is_text(values: list[bytes]) -> bool:
    try:
        for value in values:
            value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _tensor(alias: str, array: Array, dtype: DataType, *, base64: bool) -> str:
    """Return an output. Strings of which one is no text are base64, whatever was requested; the output says so."""
    parameters = ""
    if dtype is STRING and (base64 or not _is_text(array.reshape(-1).tolist())):
        parameters = '"parameters": {"content_type": "base64"}, '
        texts = [f'"{pybase64.b64encode_as_string(value)}"' for value in array.reshape(-1)]
    else:
        texts = leaf_texts("", array, dtype, "", nulls=True)
    shape = ", ".join(map(str, array.shape))
    return (
        f'{{"name": {quote_string(alias)}, "datatype": "{datatype_of(dtype)}", "shape": [{shape}], {parameters}'
        f'"data": [{", ".join(texts)}]}}'
    )


def inference_reply(outputs: Outputs, *, by: AnsweredBy, head: InferenceHead) -> bytes:
    """Return the answer to `…/infer`, with flat data; null stands for NaN and infinities.

    Args:
        outputs: arrays and their types, sorted by alias.
        by: what answers.
        head: what the request asked for.

    Raises:
        ServingError: an output cannot be written as JSON.
    """
    wanted = head.outputs or dict.fromkeys(outputs, False)
    lines = [f'"model_name": {quote_string(by.model)}', f'"model_version": "{by.version}"']
    if head.id is not None:
        lines.append(f'"id": {quote_string(head.id)}')
    tensors = ",\n        ".join(_tensor(alias, *outputs[alias], base64=base64) for alias, base64 in wanted.items())
    lines.append(f'"outputs": [\n        {tensors}\n    ]')
    return ("{\n    " + ",\n    ".join(lines) + "\n}").encode("utf-8", "replace")
