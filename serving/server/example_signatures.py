"""Which outputs a classification or a regression returns, and the errors of a signature that is for neither.

As TF Serving does by default, it does not check a signature's method name: `tf.saved_model.save` writes
`tensorflow/serving/predict` for every signature. Inputs and outputs decide.
"""

from __future__ import annotations

from orchard.savedmodel.signatures import SignatureDef
from orchard.savedmodel.types import STRING
from serving.server.serving_error import invalid
from serving.server.signature_messages import signature_text

__all__ = ["INPUT", "classification_outputs", "regression_outputs"]

INPUT = "inputs"
"""The alias of the input for serialised examples."""


def _check_input(signature: SignatureDef) -> None:
    dtype = signature.inputs[INPUT].dtype
    if dtype is not STRING:  # TensorFlow's words for a run
        raise invalid(f"Expects arg[0] to be {dtype.name} but string is provided")


def classification_outputs(signature: SignatureDef) -> list[str]:
    """Return the outputs of a classification: `classes`, `scores` or both. Raises `ServingError` in TF Serving's words."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUT not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {signature_text(signature)}")
    outputs: list[str] = [alias for alias in ("classes", "scores") if alias in signature.outputs]
    if not outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores".'
            f" Signature was: {signature_text(signature)}"
        )
    _check_input(signature)
    return outputs


def regression_outputs(signature: SignatureDef) -> list[str]:
    """Return the output of a regression. Raises `ServingError` in TF Serving's words."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if INPUT not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {signature_text(signature)}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature_text(signature)}")
    _check_input(signature)
    return ["outputs"]
