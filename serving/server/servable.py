"""A version that is loaded: its signatures, ready to run, and the requests that hold it."""

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
from serving.server.runtime.capi import RunError
from serving.server.runtime.session import TfSession
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["DEFAULT_SIGNATURE", "Servable"]

DEFAULT_SIGNATURE = "serving_default"
_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_SAME = 1e-3
"""How far the answers of photos that ran together may be from their answers alone."""


class Servable:
    """One loaded version of one model.

    Args:
        model: the model's name.
        number: the version's number.
        folder: where its files are.

    Raises:
        ServingError: it cannot be loaded or does not answer its own warm-up; in TensorFlow's words.
    """

    def __init__(self, model: str, number: int, folder: Path) -> None:
        self.model = model
        self.number = number
        self.folder = folder
        self._lanes: dict[tuple[str, str], BatchQueue] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._held = 0
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
        """Hold the version for one request; False: it is being unloaded."""
        with self._lock:
            if self._closing:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        """Give up what `acquire` took."""
        with self._lock:
            self._held -= 1
            if self._closing and not self._held:
                self._idle.notify_all()

    def close(self) -> None:
        """Wait until no request holds the version, then give its memory back."""
        with self._idle:
            self._closing = True
            self._idle.wait_for(lambda: not self._held)
        self._session.close()

    def signature(self, name: str) -> SignatureDef:
        """Return the signature that `:predict` asks for. Raises `ServingError` in TF Serving's words."""
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def',
            )
        return found

    def _lane(self, name: str, method: str, inputs: Iterable[str] | None, outputs: Iterable[str] | None) -> BatchQueue:
        key = (name, method)
        lane = self._lanes.get(key)
        if lane is None:
            try:
                lane = BatchQueue(
                    self._session,
                    self.signatures[name],
                    None if inputs is None else tuple(inputs),
                    None if outputs is None else tuple(outputs),
                )
            except RunError as error:
                raise ServingError(StatusCode(error.code), error.message) from error
            lane = self._lanes.setdefault(key, lane)
        return lane

    def predict_lane(self, name: str) -> BatchQueue:
        """Return the lane of a signature with all its inputs and outputs."""
        self.signature(name)
        return self._lane(name or DEFAULT_SIGNATURE, "predict", None, None)

    def _example_signature(self, name: str, kind: str, method: str) -> tuple[str, SignatureDef]:
        key = name or DEFAULT_SIGNATURE
        found = self.signatures.get(key)
        if found is None:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"No signature was found with the name: {key}")
        if found.method_name != method:
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"Expected {kind} signature method_name to be {method}. Was: {found.method_name}",
            )
        if len(found.inputs) != 1:
            raise ServingError(StatusCode.INVALID_ARGUMENT, "Expected one input Tensor.")
        if "inputs" not in found.inputs:
            raise ServingError(StatusCode.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef: {key}")
        return key, found

    def classify_lane(self, name: str) -> BatchQueue:
        """Return the lane of a classification signature. Raises `ServingError` in TF Serving's words."""
        key, found = self._example_signature(name, "classification", _CLASSIFY)
        if len(found.outputs) not in (1, 2):
            raise ServingError(
                StatusCode.INVALID_ARGUMENT, f"Expected one or two output Tensors, found {len(found.outputs)}"
            )
        wanted = [alias for alias in ("classes", "scores") if alias in found.outputs]
        if not wanted:
            raise ServingError(
                StatusCode.FAILED_PRECONDITION,
                'Expected classification signature outputs to contain at least one of "classes" or "scores".'
                f" Signature was: {key}",
            )
        return self._lane(key, "classify", ["inputs"], wanted)

    def regress_lane(self, name: str) -> BatchQueue:
        """Return the lane of a regression signature. Raises `ServingError` in TF Serving's words."""
        key, found = self._example_signature(name, "regression", _REGRESS)
        if len(found.outputs) != 1:
            raise ServingError(StatusCode.INVALID_ARGUMENT, "Expected one output Tensor.")
        if "outputs" not in found.outputs:
            raise ServingError(StatusCode.FAILED_PRECONDITION, f"No regression outputs found in SignatureDef: {key}")
        return self._lane(key, "regress", ["inputs"], ["outputs"])

    def _warm_up(self) -> None:
        """Answer the version's golden photos, alone and together, before anybody else asks.

        The first run of each signature builds TensorFlow's executor. If photos that run together get other answers
        than alone, the model mixes the rows of a batch and its requests are never run together.
        """
        photos = _golden_photos(self.folder)
        found = self.signatures.get(DEFAULT_SIGNATURE)
        if not photos or not found or [info.dtype for info in found.inputs.values()] != [STRING]:
            return
        lane = self.predict_lane("")
        alone = [lane.run([_strings([photo])]) for photo in photos]
        if lane.batchable and len(photos) > 1:
            together = lane.run([_strings(photos)])
            lane.batchable = all(_same(together, index, one) for index, one in enumerate(alone))


def _strings(photos: Sequence[bytes]) -> Array:
    array = np.empty(len(photos), object)
    array[:] = photos
    return array


def _same(together: Outputs, index: int, alone: Outputs) -> bool:
    for alias, (array, dtype) in alone.items():
        batch = together[alias][0]
        if array.shape[:1] != (1,) or batch.shape[1:] != array.shape[1:] or index >= batch.shape[0]:
            return False
        if dtype.numpy.startswith("float"):
            if not np.allclose(batch[index], array[0], atol=_SAME, rtol=_SAME, equal_nan=True):
                return False
        elif not np.array_equal(batch[index], array[0]):
            return False
    return True


def _golden_photos(folder: Path) -> Sequence[bytes]:
    """The photos that the version carries with their answers; sync compares the answers, here they only warm up."""
    if not (folder / GOLDEN).exists():
        return ()
    try:
        return read_golden(folder).photos
    except IntegrityError as error:
        raise ServingError(StatusCode.DATA_LOSS, error.message) from error
