"""Large bodies and answers in a process of their own, so that one client's JSON does not hold up the others.

Parsing a body of 11 MB and printing as large an answer hold Python's interpreter lock for most of a second. A thread of
this process would hold up the event loop, and with it every other request and the probes. The JSON process takes one
body after another; a thread waits for it without the lock.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchard.savedmodel.signatures import TensorInfo
from serving.server.json_channel import receive_message, send_message
from serving.server.rest.inference_request import InferenceHead
from serving.server.rest.predict import InputTensors
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["JsonProcess", "is_heavy_answer", "is_heavy_body"]

_LIGHT_BYTES = 256 << 10
_HEAVY_BYTES = 4 << 20
_BYTES_PER_COMMA = 64
"""A body with a comma for every so many bytes is made of numbers; few commas: of base64, which is read in no time."""
_HEAVY_ELEMENTS = 4096
_MAX_WAITING = 64
_END_S = 2.0
_CHILD = "serving.server.json_child"


def is_heavy_body(body: bytes | bytearray) -> bool:
    """Whether parsing a body takes so long that others would notice."""
    size = len(body)
    if size <= _LIGHT_BYTES:
        return False
    return size > _HEAVY_BYTES or body.count(b",") * _BYTES_PER_COMMA > size


def is_heavy_answer(elements: int) -> bool:
    """Whether printing so many elements takes so long that others would notice."""
    return elements > _HEAVY_ELEMENTS


class JsonProcess:
    """The JSON process of a server, and the thread that gives it work. It starts with the first large body.

    Args:
        after: called after each piece of work.
    """

    def __init__(self, after: Callable[[], None]) -> None:
        self._after = after
        self._work: queue.Queue[Callable[[], None]] = queue.Queue(_MAX_WAITING)
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        threading.Thread(target=self._run, name="json", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """The process id; None: it does not run."""
        return self._child.pid if self._child else None

    def call(self, work: Callable[[], None]) -> None:
        """Have the thread call `work`, which may use the methods below. Raises `ServingError` if too much waits."""
        try:
            self._work.put_nowait(work)
        except queue.Full:
            text = f"{_MAX_WAITING} large bodies or answers are waiting; try again"
            raise ServingError(StatusCode.RESOURCE_EXHAUSTED, text, retry_after=1) from None

    def _run(self) -> None:
        while True:
            self._work.get()()
            self._after()

    def open_body(self, body: bytes | bytearray, max_values: int, *, examples: bool) -> str:
        """Parse a body, see `parse_body`; returns the name of its signature. Raises `ServingError`."""
        name: str = self._request("open_body", pickle.PickleBuffer(body), max_values, examples)
        return name

    def examples_of_body(self) -> Array:
        """Return the examples of the last body. Raises `ServingError`."""
        examples: Array = self._request("examples_of_body")
        return examples

    def tensors_of_body(self, inputs: Mapping[str, TensorInfo], defaults: Iterable[str]) -> InputTensors:
        """Return the tensors of the last body, see `read_inputs`. Raises `ServingError`."""
        tensors: InputTensors = self._request("tensors_of_body", dict(inputs), frozenset(defaults))
        return tensors

    def open_inference(self, body: bytes | bytearray, max_values: int) -> InferenceHead:
        """Parse a body of the Open Inference Protocol; returns what it says beside its tensors. Raises `ServingError`."""
        head: InferenceHead = self._request("open_inference", pickle.PickleBuffer(body), max_values)
        return head

    def tensors_of_inference(self, inputs: Mapping[str, TensorInfo], defaults: Iterable[str]) -> dict[str, Array]:
        """Return the tensors of the last body, see `read_tensors`. Raises `ServingError`."""
        tensors: dict[str, Array] = self._request("tensors_of_inference", dict(inputs), frozenset(defaults))
        return tensors

    def print_answer(self, render: Callable[..., bytes], outputs: Mapping[str, Any]) -> bytearray:
        """Return `render(outputs)`. Raises `ServingError`."""
        answer: bytearray = self._request("print_answer", render, dict(outputs)).obj  # a view of what was received
        return answer

    def _request(self, name: str, *arguments: Any) -> Any:
        try:
            connection = self._connection or self._start()
            send_message(connection, (name, *arguments))
            succeeded, result = receive_message(connection)
        except (OSError, EOFError) as error:
            self._stop()
            text = "The process that reads large bodies has ended; try again"
            raise ServingError(StatusCode.UNAVAILABLE, text, retry_after=1) from error
        if succeeded:
            return result
        code, message, http_status, retry_after = result
        raise ServingError(code, message, http_status=http_status, retry_after=retry_after)

    def _start(self) -> socket.socket:
        self._connection, other = socket.socketpair()
        with other:
            command = [sys.executable, "-m", _CHILD, str(other.fileno())]
            self._child = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603
        return self._connection

    def _stop(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
        if self._child:
            self._child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_S)
            self._child = None
