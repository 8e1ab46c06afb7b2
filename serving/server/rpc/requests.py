"""gRPC requests as feeds for a lane, and its outputs as gRPC answers; errors in TF Serving's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from serving.protos import message
from serving.server.batching import BatchQueue, Outputs
from serving.server.rest.results import check_classification, check_regression
from serving.server.rpc.tensor_protos import from_proto, to_proto
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


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def predict_feeds(servable: Servable, request: Any) -> tuple[BatchQueue, list[Array], tuple[str, ...]]:
    """Return the lane of a PredictRequest, the arrays to feed, and the outputs that were asked for.

    Raises:
        ServingError: in TF Serving's words.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    sent = request.inputs
    if len(sent) != len(signature.inputs) or any(alias not in sent for alias in signature.inputs):
        raise _misfit(set(sent), set(signature.inputs))
    outputs = _filtered(signature, request.output_filter)
    lane = servable.predict_lane(name)
    return lane, [_fed(sent[alias], signature.inputs[alias]) for alias in lane.inputs], outputs


def _misfit(sent: set[str], wanted: set[str]) -> ServingError:
    """Say, in TF Serving's words, how the inputs that came are not those of the signature."""
    if len(sent) != len(wanted):
        return invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_listed(sent)}}}) != "
            f"len({{{_listed(wanted)}}}). Sent extra: {{{_listed(sent - wanted)}}}. "
            f"Missing but required: {{{_listed(wanted - sent)}}}."
        )
    return invalid(
        f"input tensor alias not found in signature: {min(sent - wanted)}. Inputs expected to be in the set "
        f"{{{_listed(wanted)}}}."
    )


def _filtered(signature: SignatureDef, asked: Iterable[str]) -> tuple[str, ...]:
    chosen: list[str] = []
    for alias in asked:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_listed(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return tuple(chosen) or tuple(signature.outputs)


def _fed(proto: Any, info: TensorInfo) -> Array:
    if proto.dtype != info.dtype.number:
        from orchard.savedmodel.types import data_type

        raise invalid(
            f"input tensor {info.name} has type {data_type(proto.dtype).name}; the signature says {info.dtype.name}"
        )
    return from_proto(proto)


def read_examples(proto: Any) -> Array:
    """Return an Input's serialised examples, each after the context if there is one. Raises `ServingError` if empty."""
    kind = proto.WhichOneof("kind")
    held: Any = getattr(proto, kind or "example_list")
    context = held.context if kind == "example_list_with_context" else b""
    if not held.examples:
        raise invalid("Input is empty.")
    array = np.empty(len(held.examples), object)
    array[:] = [context + example for example in held.examples]
    return array


def fill_spec(spec: Any, servable: Servable, signature: str) -> None:
    """Say which model, version and signature answered."""
    spec.name = servable.model
    spec.version.value = servable.number
    spec.signature_name = signature


def _response(name: str, servable: Servable, signature: str) -> Any:
    """Return a new response message that says who answered; a request that names no signature means the default."""
    response = message(name)()
    fill_spec(response.model_spec, servable, signature or DEFAULT_SIGNATURE)
    return response


def prediction_reply(servable: Servable, signature: str, aliases: Iterable[str], outputs: Outputs) -> Any:
    """Return the PredictResponse with the outputs that were asked for."""
    response = _response("PredictResponse", servable, signature)
    for alias in aliases:
        array, dtype = outputs[alias]
        to_proto(array, dtype, response.outputs[alias])
    return response


def classification_reply(servable: Servable, signature: str, examples: int, outputs: Outputs) -> Any:
    """Return the ClassificationResponse. Raises `ServingError` if the outputs have not the right shape or type."""
    response = _response("ClassificationResponse", servable, signature)
    classes, scores = check_classification(outputs, examples)
    known = classes if classes is not None else scores
    for row in range(examples):
        held = response.result.classifications.add()
        for column in range(0 if known is None else known.shape[1]):
            item = held.classes.add()
            if classes is not None:
                item.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                item.score = float(scores[row, column])
    return response


def regression_reply(servable: Servable, signature: str, examples: int, outputs: Outputs) -> Any:
    """Return the RegressionResponse. Raises `ServingError` if the output has not the right shape or type."""
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
    """Write a SignatureDefMap."""
    for name, signature in signatures.items():
        made = proto.signature_def[name]
        made.method_name = signature.method_name
        for infos, protos in ((signature.inputs, made.inputs), (signature.outputs, made.outputs)):
            for alias, info in infos.items():
                _fill_info(info, protos[alias])
