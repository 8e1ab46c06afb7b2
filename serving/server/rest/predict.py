"""Converts the body of `:predict` into tensors: row format (`instances`) or column format (`inputs`)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchard.savedmodel.signatures import TensorInfo
from orchard.savedmodel.types import STRING
from serving.server.rest.pretty import quote, shape_text
from serving.server.rest.values import base64_rows, count_elements, dense_tensor, is_base64, shape_of
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError, invalid

__all__ = ["InputTensors", "input_mismatch", "read_inputs"]

Inputs = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class InputTensors:
    """The tensors of a request.

    Attributes:
        tensors: one array for each input, by alias.
        rows: whether the request is in row format; its answer is in the same format.
    """

    tensors: dict[str, Array]
    rows: bool


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def input_mismatch(sent: set[str], expected: set[str]) -> ServingError:
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


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


class _Rows:
    """Checks `instances` one by one, in TF Serving's order; only used to find the error in an invalid request."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.first: dict[str, tuple[int, list[int]]] = {}

    def add(self, value: Any, name: str) -> None:
        if name not in self.inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        shape = shape_of(value)
        size = count_elements(value, self.inputs[name].dtype)
        first_size, first_shape = self.first.setdefault(name, (size, shape))
        if size != first_size:
            raise invalid(f"Expecting tensor size: {first_size} but got: {size}")
        if shape != first_shape:
            raise invalid(f"Expecting shape {shape_text(first_shape)} but got: {shape_text(shape)}")

    def add_object(self, element: dict[str, Any], index: int) -> None:
        for name, value in element.items():
            try:
                self.add(value, name)
            except ServingError as error:
                raise invalid(
                    f"Failed to process element: {index} key: {name} of 'instances' list. Error: {error}"
                ) from error
        if set(element) != set(self.inputs):
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {quote(element)}"
                f" keys must be equal to: {','.join(sorted(self.inputs))}"
            )

    def add_value(self, element: Any, index: int) -> None:
        try:
            self.add(element, next(iter(self.inputs)))
        except ServingError as error:
            raise invalid(f"Failed to process element: {index} of 'instances' list. Error: {error}") from error

    def check(self, instances: list[Any]) -> None:
        """Raise the error that TF Serving would report, if there is one."""
        objects = _is_object(instances[0])
        for index, element in enumerate(instances):
            if objects != _is_object(element):
                expected, got = ("object", "list") if objects else ("value/list", "object")
                raise invalid(f"Expecting {expected} but got {got} at item {index} of input list")
            if objects:
                self.add_object(element, index)
            else:
                self.add_value(element, index)


def _named_columns(instances: list[Any], inputs: Inputs) -> Iterator[tuple[str, list[Any]]] | None:
    """Convert rows of objects into a list for each input; None: a row does not have exactly the inputs' names."""
    try:
        if not all(_is_object(row) and len(row) == len(inputs) for row in instances):
            return None
        columns = {name: [row[name] for row in instances] for name in inputs}
    except KeyError:
        return None
    return iter(columns.items())


def _from_instances(instances: list[Any], inputs: Inputs) -> dict[str, Array]:
    if len(inputs) == 1:
        ((name, info),) = inputs.items()
        photos = base64_rows(instances) if info.dtype is STRING else None
        if photos is not None:
            return {name: photos}

    def explain() -> None:
        _Rows(inputs).check(instances)

    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    if not _is_object(instances[0]):
        name, info = next(iter(inputs.items()))
        if any(_is_object(row) for row in instances):
            explain()
        tensors = {name: dense_tensor(instances, info.dtype, explain)}
        if len(inputs) > 1:  # each row is the bytes of one input; the others are missing
            raise input_mismatch(set(tensors), set(inputs))
        return tensors
    columns = _named_columns(instances, inputs)
    if columns is None:
        explain()
        raise invalid("Failed to process 'instances' list.")
    return {name: dense_tensor(column, inputs[name].dtype, explain) for name, column in columns}


def _from_inputs(value: Any, inputs: Inputs) -> dict[str, Array]:
    if not _is_object(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        name, info = next(iter(inputs.items()))
        return {name: dense_tensor(value, info.dtype)}
    tensors: dict[str, Array] = {}
    for name, info in inputs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        tensors[name] = dense_tensor(value[name], info.dtype)
    return tensors


def _without_defaults(document: dict[str, Any], inputs: Inputs, defaults: Container[str]) -> Inputs:
    """Return the inputs without those that have a default and that no row or column names."""
    value = document.get("instances", document.get("inputs"))
    named: set[str] = set()
    for row in value if isinstance(value, list) else [value]:
        named.update(row if isinstance(row, dict) and _is_object(row) else ())
    return {name: info for name, info in inputs.items() if name not in defaults or name in named}


def read_inputs(document: dict[str, Any], inputs: Inputs, defaults: Container[str] = ()) -> InputTensors:
    """Convert a `:predict` body into tensors.

    Args:
        document: the parsed body.
        inputs: the signature's inputs by alias. If there are none, nothing of the body is fed.
        defaults: the inputs that a request may leave out.

    Raises:
        ServingError: in TF Serving's words.
    """
    if not inputs:  # TF Serving refuses the signature whatever the body is
        if "instances" in document or document.get("inputs", {}) not in ({}, []):
            raise invalid(f"Failed to get input map for signature: {document.get('signature_name') or 'DEFAULT'}")
        return InputTensors({}, rows=False)
    if defaults:
        inputs = _without_defaults(document, inputs, defaults)
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {quote(document)} Not formatted correctly expecting only one of 'inputs' or 'instances'"
            " keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {quote(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {quote(document)} No values in 'instances' array")
        return InputTensors(_from_instances(instances, inputs), rows=True)
    if "inputs" in document:
        return InputTensors(_from_inputs(document["inputs"], inputs), rows=False)
    raise invalid("Missing 'inputs' or 'instances' key")
