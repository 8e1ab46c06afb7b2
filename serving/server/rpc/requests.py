"""Reads gRPC requests and builds gRPC responses, with TF Serving's error texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from serving.protos import message
from serving.server.batching import BatchQueue, Outputs
from serving.server.rest.results import check_classification, check_regression
from serving.server.runtime.tensor_protos import from_proto, to_proto
from serving.server.runtime.tensors import Array
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode

__all__ = [
    "classification_reply",
    "fill_signature",
    "fill_spec",
    "predict_feeds",
    "prediction_reply",
    "read_examples",
    "regression_reply",
]


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def predict_feeds(servable: Servable, request: Any) -> tuple[BatchQueue, list[Array], tuple[str, ...]]:
    """Return the queue of a PredictRequest, the arrays to feed, and the aliases of the requested outputs.

    Raises:
        ServingError: in TF Serving's words.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    sent = request.inputs
    needed = signature.inputs.keys() - signature.defaults.keys()
    if any(alias not in signature.inputs for alias in sent) or any(alias not in sent for alias in needed):
        raise _input_mismatch(set(sent), set(signature.inputs))
    outputs = _filtered(signature, request.output_filter)
    queue = servable.predict_queue(name)
    arrays = {alias: _to_array(sent[alias], signature.inputs[alias]) for alias in queue.inputs if alias in sent}
    return queue, queue.feed_values(arrays), outputs


def _input_mismatch(sent: set[str], expected: set[str]) -> ServingError:
    """Return TF Serving's error for inputs that differ from those of the signature."""
    if len(sent) != len(expected):
        return invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_join(sent)}}}) != "
            f"len({{{_join(expected)}}}). Sent extra: {{{_join(sent - expected)}}}. "
            f"Missing but required: {{{_join(expected - sent)}}}."
        )
    return invalid(
        f"input tensor alias not found in signature: {min(sent - expected)}. Inputs expected to be in the set "
        f"{{{_join(expected)}}}."
    )


def _filtered(signature: SignatureDef, output_filter: Iterable[str]) -> tuple[str, ...]:
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_join(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return tuple(chosen) or tuple(signature.outputs)


def _to_array(proto: Any, info: TensorInfo) -> Array:
    if proto.dtype != info.dtype.number:
        from orchard.savedmodel.types import data_type

        raise invalid(
            f"input tensor {info.name} has type {data_type(proto.dtype).name}; the signature says {info.dtype.name}"
        )
    return from_proto(proto)


def read_examples(proto: Any) -> Array:
    """Return an Input's serialised examples, each after its context if any. Raises `ServingError` if there is none."""
    kind = proto.WhichOneof("kind")
    source: Any = getattr(proto, kind or "example_list")
    context = source.context if kind == "example_list_with_context" else b""
    if not source.examples:
        raise invalid("Input is empty.")
    array = np.empty(len(source.examples), object)
    array[:] = [context + example for example in source.examples]
    return array


def fill_spec(spec: Any, servable: Servable, signature: str) -> None:
    """Set the model, version and signature of a ModelSpec."""
    spec.name = servable.model
    spec.version.value = servable.number
    spec.signature_name = signature


def _response(name: str, servable: Servable, signature: str) -> Any:
    """Return a new response message with its ModelSpec; without a signature name it is the default one."""
    response = message(name)()
    fill_spec(response.model_spec, servable, signature or DEFAULT_SIGNATURE)
    return response


def prediction_reply(servable: Servable, signature: str, aliases: Iterable[str], outputs: Outputs) -> Any:
    """Return the PredictResponse with the requested outputs."""
    response = _response("PredictResponse", servable, signature)
    for alias in aliases:
        array, dtype = outputs[alias]
        to_proto(array, dtype, response.outputs[alias])
    return response


def classification_reply(servable: Servable, signature: str, examples: int, outputs: Outputs) -> Any:
    """Return the ClassificationResponse. Raises `ServingError` if the shape or type of an output is wrong."""
    response = _response("ClassificationResponse", servable, signature)
    classes, scores = check_classification(outputs, examples)
    known = classes if classes is not None else scores
    for row in range(examples):
        classifications = response.result.classifications.add()
        for column in range(0 if known is None else known.shape[1]):
            item = classifications.classes.add()
            if classes is not None:
                item.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                item.score = float(scores[row, column])
    return response


def regression_reply(servable: Servable, signature: str, examples: int, outputs: Outputs) -> Any:
    """Return the RegressionResponse. Raises `ServingError` if the shape or type of the output is wrong."""
    response = _response("RegressionResponse", servable, signature)
    for value in check_regression(outputs, examples).reshape(-1).tolist():
        response.result.regressions.add(value=value)
    return response


def _fill_info(info: TensorInfo, proto: Any) -> None:
    proto.name, proto.dtype = info.name, info.dtype.number
    proto.tensor_shape.unknown_rank = info.shape is None
    for dim in info.shape or ():
        proto.tensor_shape.dim.add(size=dim.size, name=dim.name)


def fill_signature(signatures: Mapping[str, SignatureDef], proto: Any) -> None:
    """Fill a SignatureDefMap."""
    for name, signature in signatures.items():
        definition = proto.signature_def[name]
        definition.method_name = signature.method_name
        for infos, protos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
            for alias, info in infos.items():
                _fill_info(info, protos[alias])
