"""Checks the outputs of classification and regression signatures as TF Serving does."""

from __future__ import annotations

from orchard.savedmodel.types import DataType
from serving.server.batching import Outputs
from serving.server.rest.pretty import shape_text
from serving.server.rest.responses import classification_reply, regression_reply
from serving.server.runtime.tensors import Array
from serving.server.serving_error import invalid

__all__ = ["check_classification", "check_regression", "classify_reply", "regress_reply"]


def _check_matrix(kind: str, array: Array, dtype: DataType, expected: str, examples: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array.shape)}")
    if dtype.proto != expected:
        raise invalid(f"Expected {kind} Tensor of {expected}. Got: {dtype.proto}")
    if array.shape[0] != examples:
        raise invalid(f"Expected {kind} output batch size of {examples}. Got: {array.shape[0]}")


def check_classification(outputs: Outputs, examples: int) -> tuple[Array | None, Array | None]:
    """Return classes and scores, [examples, classes] each; None: the model does not have this output.

    Raises:
        ServingError: the shape or type of an output is wrong.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if classes:
        _check_matrix("classes", *classes, "DT_STRING", examples)
    if scores:
        _check_matrix("scores", *scores, "DT_FLOAT", examples)
    if classes and scores and classes[0].shape[1] != scores[0].shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes[0].shape[1]} vs. {scores[0].shape[1]}"
        )
    return classes[0] if classes else None, scores[0] if scores else None


def check_regression(outputs: Outputs, examples: int) -> Array:
    """Return the values, one for each example. Raises `ServingError` if their shape or type is wrong."""
    array, dtype = outputs["outputs"]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape_text(array.shape)}"
        )
    if array.shape[0] != examples:
        raise invalid(f"Input batch size did not match output batch size: {examples} vs. {array.shape[0]}")
    if dtype.proto != "DT_FLOAT":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {dtype.proto}")
    return array


def classify_reply(outputs: Outputs, examples: int, *, nulls: bool = False) -> bytes:
    """Return the response of `:classify`. Raises `ServingError` if an output is invalid."""
    return classification_reply(*check_classification(outputs, examples), nulls=nulls)


def regress_reply(outputs: Outputs, examples: int, *, nulls: bool = False) -> bytes:
    """Return the response of `:regress`. Raises `ServingError` if the output is invalid."""
    return regression_reply(check_regression(outputs, examples), nulls=nulls)
