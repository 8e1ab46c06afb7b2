"""A loaded version: its signatures, ready to run, and the number of requests that hold it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchard.errors import IntegrityError
from orchard.golden import GOLDEN, read_golden
from orchard.savedmodel.signatures import SignatureDef
from orchard.savedmodel.types import STRING
from serving.server.batching import BatchQueue
from serving.server.example_signatures import INPUT, classification_outputs, regression_outputs
from serving.server.row_probe import as_strings
from serving.server.row_proof import BatchingMode, BatchingVerdict, RowProof
from serving.server.runtime.capi import RunError
from serving.server.runtime.session import TfSession
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["DEFAULT_SIGNATURE", "Servable"]

DEFAULT_SIGNATURE = "serving_default"
_NOT_EXAMINED = BatchingVerdict(False, "not examined yet")
_INTERNAL = "__saved_model"
"""How the names of signatures begin that only the loader runs."""


class Servable:
    """One loaded version of one model.

    Args:
        model: the model's name.
        number: the version's number.
        folder: the version's folder.
        batching: which requests may run together, see `RowProof`.

    Attributes:
        batching: for each signature whether its requests may run together, and why; see `prove_batching`.
        warm_up_requests: how many warm-up requests it has answered, see `run_warm_up`.

    Raises:
        ServingError: it cannot be loaded or fails on its golden photos; with TensorFlow's message.
    """

    def __init__(self, model: str, number: int, folder: Path, batching: BatchingMode = "proved") -> None:
        self.model = model
        self.number = number
        self.warm_up_requests = 0
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
        self._proof = RowProof(batching, folder, self._session)
        self.batching: dict[str, BatchingVerdict] = {
            name: self._proof.judge_declaration(signature) or _NOT_EXAMINED
            for name, signature in self.signatures.items()
            if not name.startswith(_INTERNAL)
        }
        try:
            self._answer_golden_photos()
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
            queue.defaults = _defaults(self.signatures[name])
            queue = self._queues.setdefault(key, queue)
            self._allow(name, queue)  # afterwards: a verdict that comes meanwhile finds the queue
        return queue

    def may_batch(self, name: str) -> bool:
        """Whether `:predict` requests of a signature run together now."""
        queue = self._queues.get((name, "predict"))
        return queue.batchable if queue else self.batching[name].together

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

    def prove_batching(self) -> bool:
        """Decide which signatures' requests may run together, while the version answers requests.

        Returns:
            Whether all are decided; False: the version is being unloaded.
        """
        for name, signature in self.signatures.items():
            if self.batching.get(name) is not _NOT_EXAMINED:
                continue
            if not self.acquire():
                return False
            try:
                photos = self._golden_photos() if name == DEFAULT_SIGNATURE else ()
                verdict = self._proof.judge(signature, self._queue(name, "predict", None, None), photos)
            except ServingError as error:
                verdict = BatchingVerdict(False, error.message)
            except Exception as error:  # an error of one version must not end the examination of others
                verdict = BatchingVerdict(False, f"not proved: {type(error).__name__}: {error}")
            finally:
                self.release()
            self.batching[name] = verdict
            for (signature_name, _), queue in list(self._queues.items()):
                if signature_name == name:
                    self._allow(name, queue)
        return True

    def _allow(self, name: str, queue: BatchQueue) -> None:
        """Let the jobs of a signature's queue run together, if they may."""
        verdict = self.batching.get(name)
        if verdict is not None and verdict.together:
            queue.allow_batches(any_shape=not verdict.proved)

    def _answer_golden_photos(self) -> None:
        """Run the golden photos: a signature's first run builds TensorFlow's executor, and no request waits for it."""
        for photo in self._golden_photos():
            self.predict_queue(DEFAULT_SIGNATURE).run([as_strings([photo])])

    def _golden_photos(self) -> Sequence[bytes]:
        """Return the version's golden photos, if its default signature takes photos. Raises `ServingError` DATA_LOSS."""
        signature = self.signatures.get(DEFAULT_SIGNATURE)
        takes_photos = signature is not None and [info.dtype for info in signature.inputs.values()] == [STRING]
        if not takes_photos or not (self.folder / GOLDEN).exists():
            return ()
        try:
            return read_golden(self.folder).photos  # sync compares their answers; here they are only run
        except IntegrityError as error:
            raise ServingError(StatusCode.DATA_LOSS, error.message) from error


def _defaults(signature: SignatureDef) -> dict[str, Array]:
    if not signature.defaults:
        return {}
    from serving.protos import message  # protobuf, which few models need
    from serving.server.runtime.tensor_protos import from_proto

    proto = message("tensorflow.TensorProto")
    return {alias: from_proto(proto.FromString(body)) for alias, body in signature.defaults.items()}
