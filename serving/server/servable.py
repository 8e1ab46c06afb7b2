"""A loaded version: its signatures, ready to run, and the number of requests that hold it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from orchard.errors import IntegrityError
from orchard.golden import GOLDEN, read_golden
from orchard.savedmodel.signatures import SignatureDef
from orchard.savedmodel.types import STRING
from serving.server.batching import BatchQueue, Outputs
from serving.server.example_signatures import INPUT, classification_outputs, regression_outputs
from serving.server.runtime.capi import RunError
from serving.server.runtime.session import TfSession
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["DEFAULT_SIGNATURE", "Servable"]

DEFAULT_SIGNATURE = "serving_default"
_TOLERANCE = 1e-3
"""The largest difference between the answers of photos in a batch and alone."""


class Servable:
    """One loaded version of one model.

    Args:
        model: the model's name.
        number: the version's number.
        folder: the version's folder.

    Raises:
        ServingError: it cannot be loaded or fails on its golden photos; with TensorFlow's message.
    """

    def __init__(self, model: str, number: int, folder: Path) -> None:
        self.model = model
        self.number = number
        self.folder = folder
        self._queues: dict[tuple[str, str], BatchQueue] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._references = 0
        self._closing = False
        try:
            self._session = TfSession(folder)
        except RunError as error:
            raise ServingError(StatusCode(error.code), error.message) from error
        self.signatures = self._session.signatures
        try:
            self._warm_up()
        except BaseException:
            self._session.close()
            raise

    def acquire(self) -> bool:
        """Hold the version for one request; returns False if it is being unloaded."""
        with self._lock:
            if self._closing:
                return False
            self._references += 1
            return True

    def release(self) -> None:
        """Release the hold of one `acquire`."""
        with self._lock:
            self._references -= 1
            if self._closing and not self._references:
                self._idle.notify_all()

    def close(self) -> None:
        """Wait until no request holds the version, then free its memory."""
        with self._idle:
            self._closing = True
            self._idle.wait_for(lambda: not self._references)
        self._session.close()

    def signature(self, name: str) -> SignatureDef:
        """Return the signature of a `:predict` request. Raises `ServingError` in TF Serving's words."""
        signature = self.signatures.get(name or DEFAULT_SIGNATURE)
        if signature is None:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def',
            )
        return signature

    def _queue(self, name: str, method: str, inputs: Iterable[str] | None, outputs: Iterable[str] | None) -> BatchQueue:
        key = (name, method)
        queue = self._queues.get(key)
        if queue is None:
            try:
                queue = BatchQueue(
                    self._session,
                    self.signatures[name],
                    None if inputs is None else tuple(inputs),
                    None if outputs is None else tuple(outputs),
                )
            except RunError as error:
                raise ServingError(StatusCode(error.code), error.message) from error
            queue = self._queues.setdefault(key, queue)
        return queue

    def predict_queue(self, name: str) -> BatchQueue:
        """Return the queue of a signature with all its inputs and outputs."""
        self.signature(name)
        return self._queue(name or DEFAULT_SIGNATURE, "predict", None, None)

    def _example_signature(self, name: str) -> tuple[str, SignatureDef]:
        key = name or DEFAULT_SIGNATURE
        signature = self.signatures.get(key)
        if signature is None:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"No signature was found with the name: {key}")
        return key, signature

    def classify_queue(self, name: str) -> BatchQueue:
        """Return the queue of a classification signature. Raises `ServingError` in TF Serving's words."""
        key, signature = self._example_signature(name)
        return self._queue(key, "classify", [INPUT], classification_outputs(signature))

    def regress_queue(self, name: str) -> BatchQueue:
        """Return the queue of a regression signature. Raises `ServingError` in TF Serving's words."""
        key, signature = self._example_signature(name)
        return self._queue(key, "regress", [INPUT], regression_outputs(signature))

    def _warm_up(self) -> None:
        """Answer the version's golden photos, alone and as a batch, before the version gets requests.

        The first run of each signature builds TensorFlow's executor. If a batch has other answers than the photos alone,
        the model mixes the rows of a batch, and its requests are never batched.
        """
        photos = _golden_photos(self.folder)
        signature = self.signatures.get(DEFAULT_SIGNATURE)
        if not photos or not signature or [info.dtype for info in signature.inputs.values()] != [STRING]:
            return
        queue = self.predict_queue("")
        alone = [queue.run([_strings([photo])]) for photo in photos]
        if queue.batchable and len(photos) > 1:
            together = queue.run([_strings(photos)])
            queue.batchable = all(_is_same_answer(together, index, one) for index, one in enumerate(alone))


def _strings(photos: Sequence[bytes]) -> Array:
    array = np.empty(len(photos), object)
    array[:] = photos
    return array


def _is_same_answer(together: Outputs, index: int, alone: Outputs) -> bool:
    for alias, (array, dtype) in alone.items():
        batch = together[alias][0]
        if array.shape[:1] != (1,) or batch.shape[1:] != array.shape[1:] or index >= batch.shape[0]:
            return False
        if dtype.numpy.startswith("float"):
            if not np.allclose(batch[index], array[0], atol=_TOLERANCE, rtol=_TOLERANCE, equal_nan=True):
                return False
        elif not np.array_equal(batch[index], array[0]):
            return False
    return True


def _golden_photos(folder: Path) -> Sequence[bytes]:
    """Return the version's golden photos. sync compares their answers; here they are only the warm-up."""
    if not (folder / GOLDEN).exists():
        return ()
    try:
        return read_golden(folder).photos
    except IntegrityError as error:
        raise ServingError(StatusCode.DATA_LOSS, error.message) from error
