"""Reads gRPC requests and builds gRPC responses, with TF Serving's error texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from orchard.savedmodel.types import data_type
from serving.protos import message
from serving.server.batching import BatchQueue, Outputs
from serving.server.example_signatures import INPUT, classification_outputs, regression_outputs
from serving.server.rest.predict import input_mismatch
from serving.server.rest.results import check_classification, check_regression
from serving.server.runtime.tensor_protos import from_proto, to_proto
from serving.server.runtime.tensors import Array
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.serving_error import ServingError, invalid
from serving.server.signature_messages import fill_signature_def
from serving.status_codes import StatusCode

__all__ = [
    "check_tasks",
    "classification_reply",
    "fill_signature",
    "fill_spec",
    "predict_feeds",
    "prediction_reply",
    "read_examples",
    "regression_reply",
]


_TASKS: dict[str, tuple[str, str, Callable[[SignatureDef], list[str]]]] = {
    "tensorflow/serving/classify": ("Classify", "classification_result", classification_outputs),
    "tensorflow/serving/regress": ("Regress", "regression_result", regression_outputs),
}


def predict_feeds(servable: Servable, request: Any) -> tuple[BatchQueue, list[Array], tuple[str, ...]]:
    """Return the queue of a PredictRequest, the arrays to feed, and the aliases of the requested outputs.

    Raises:
        ServingError: in TF Serving's words.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    sent, inputs = request.inputs, signature.inputs
    needed = inputs.keys() - signature.defaults.keys()
    if any(alias not in inputs for alias in sent) or any(alias not in sent for alias in needed):
        raise input_mismatch(set(sent), set(inputs))
    arrays = {alias: from_proto(sent[alias], alias) for alias in inputs if alias in sent}
    outputs = _filtered(signature, request.output_filter)
    if any(sent[alias].dtype != inputs[alias].dtype.number for alias in arrays):  # not of an absent one: that adds it
        raise _type_mismatch(sent, inputs)
    queue = servable.predict_queue(name)
    return queue, queue.feed_values(arrays), outputs


def _type_mismatch(sent: Any, inputs: Mapping[str, TensorInfo]) -> ServingError:
    """Return TensorFlow's error for a tensor of another type than the graph's; it counts the inputs by tensor name."""
    ordered = sorted((alias for alias in inputs if alias in sent), key=lambda alias: inputs[alias].name)
    index, alias = next(
        (index, alias) for index, alias in enumerate(ordered) if sent[alias].dtype != inputs[alias].dtype.number
    )
    return invalid(
        f"Expects arg[{index}] to be {inputs[alias].dtype.name} but {data_type(sent[alias].dtype).name} is provided"
    )


def _filtered(signature: SignatureDef, output_filter: Iterable[str]) -> tuple[str, ...]:
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}."
            )
        if alias in chosen:
            raise invalid(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return tuple(chosen) or tuple(signature.outputs)


def check_tasks(servable: Servable, tasks: Iterable[Any]) -> list[tuple[str, str]]:
    """Check the tasks of a MultiInferenceRequest; returns the method and the result's field of each.

    Raises:
        ServingError: in TF Serving's words.
    """
    found: list[tuple[str, str]] = []
    model, tensor, names = "", "", set[str]()
    for task in tasks:
        spec, name = task.model_spec, task.model_spec.signature_name or DEFAULT_SIGNATURE
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if spec.name != (model := model or spec.name):
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in names:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        names.add(name)
        signature = servable.signatures.get(name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in _TASKS:
            raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        api, field, check = _TASKS[task.method_name]
        check(signature)
        if signature.inputs[INPUT].name != (tensor := tensor or signature.inputs[INPUT].name):
            raise invalid("Input tensor must be the same for all Signatures.")
        found.append((api, field))
    return found


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


def fill_signature(signatures: Mapping[str, SignatureDef], proto: Any) -> None:
    """Fill a SignatureDefMap."""
    for name, signature in signatures.items():
        fill_signature_def(signature, proto.signature_def[name])
