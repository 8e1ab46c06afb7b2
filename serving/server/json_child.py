"""The JSON process: parses large bodies and prints large answers for a server, whose interpreter stays free meanwhile.

`python -m serving.server.json_child FD` serves one server over the socket FD, call by call, until the server closes it.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from orchard.savedmodel.signatures import TensorInfo
from serving.server.json_channel import receive_message, send_message
from serving.server.rest.examples import read_examples
from serving.server.rest.inference_request import InferenceHead, read_inference_head, read_tensors
from serving.server.rest.predict import InputTensors, read_inputs
from serving.server.rest.request_body import RECURSION_LIMIT, parse_body, read_signature_name
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__: list[str] = []

_NICE = 10
_open: dict[str, Any] = {}
"""The body that `_open_body` has parsed, until its tensors are read."""


def _open_body(body: memoryview, max_values: int, examples: bool) -> str:
    """Parse a body and keep it; returns the name of the signature. Raises `ServingError`."""
    _open.clear()
    _open.update(parse_body(bytes(body), max_values, examples=examples))
    return read_signature_name(_open)


def _examples_of_body() -> Array:
    """Return the serialised examples of the body that is open. Raises `ServingError`."""
    return read_examples(_open)


def _tensors_of_body(inputs: Mapping[str, TensorInfo], defaults: frozenset[str]) -> InputTensors:
    """Return the tensors of the body that is open. Raises `ServingError`."""
    return read_inputs(_open, inputs, defaults)


def _open_inference(body: memoryview, max_values: int) -> InferenceHead:
    """Parse a body of the Open Inference Protocol and keep it. Raises `ServingError`."""
    _open.clear()
    _open.update(parse_body(bytes(body), max_values))
    return read_inference_head(_open)


def _tensors_of_inference(inputs: Mapping[str, TensorInfo], defaults: frozenset[str]) -> dict[str, Array]:
    """Return the tensors of the body that is open. Raises `ServingError`."""
    return read_tensors(_open, inputs, defaults)


def _print_answer(render: Callable[[Mapping[str, Any]], bytes], outputs: Mapping[str, Any]) -> pickle.PickleBuffer:
    """Return the text of an answer. Raises `ServingError`."""
    return pickle.PickleBuffer(render(outputs))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "open_body": _open_body,
    "examples_of_body": _examples_of_body,
    "tensors_of_body": _tensors_of_body,
    "open_inference": _open_inference,
    "tensors_of_inference": _tensors_of_inference,
    "print_answer": _print_answer,
}


def _call(name: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, _FUNCTIONS[name](*arguments)
    except ServingError as error:
        return False, (error.code, error.message, error.http_status, error.retry_after)
    except Exception as error:
        return False, (StatusCode.INTERNAL, f"{type(error).__name__}: {error}", None, None)


def _serve(connection: socket.socket) -> None:
    while True:
        try:
            name, *arguments = receive_message(connection)
        except (EOFError, OSError):
            return
        send_message(connection, _call(name, tuple(arguments)))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends with its server, which may drain
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    sys.setrecursionlimit(RECURSION_LIMIT)
    _serve(socket.socket(fileno=int(sys.argv[1])))
