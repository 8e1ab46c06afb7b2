"""The requests in `assets.extra/tf_serving_warmup_requests`, which a version answers before it becomes available.

The file is a TFRecord of PredictionLog messages, as TF Serving reads it: a record that cannot be read, or whose request
fails, fails the load. So it also shows that the version answers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from functools import reduce
from operator import xor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from serving.server.batching import BatchQueue, Outputs
from serving.server.row_proof import BatchingMode
from serving.server.runtime.tensors import Array
from serving.server.servable import Servable
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode

__all__ = ["MAX_RECORDS", "WARM_UP_FILE", "load_warm", "run_warm_up"]

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000
_MAX_RECORD_BYTES = 1 << 30
_SHORT = 64
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, reversed


def _crc_table() -> NDArray[np.uint32]:
    table: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1 ^ (table & 1) * np.uint32(_POLYNOMIAL)).astype(np.uint32)
    return table


_CRC = _crc_table()


def _crc(body: bytes) -> int:
    """Return the CRC-32C; of long bodies in parallel lanes, whose results are then combined."""
    if len(body) < _SHORT:
        crc = 0xFFFFFFFF
        for byte in body:
            crc = crc >> 8 ^ int(_CRC[(crc ^ byte) & 0xFF])
        return crc ^ 0xFFFFFFFF
    data = np.frombuffer(body, np.uint8).astype(np.uint32)
    data[:4] ^= 0xFF  # the same as to begin with all bits set
    width = math.isqrt(len(data)) + 1
    lanes = -(-len(data) // width)
    rows = np.zeros((lanes + 32, width), np.uint32)
    rows[:lanes].reshape(-1)[lanes * width - len(data) :] = data  # zeros before the body change nothing
    crcs = np.concatenate([np.zeros(lanes, np.uint32), np.uint32(1) << np.arange(32, dtype=np.uint32)])
    for column in rows.T:
        crcs = crcs >> 8 ^ _CRC[(crcs ^ column) & 0xFF]
    shifted = crcs[lanes:].tolist()  # what becomes of each bit while the next lane is read
    total = 0
    for lane in crcs[:lanes].tolist():
        total = reduce(xor, (value for bit, value in enumerate(shifted) if total >> bit & 1), lane)
    return total ^ 0xFFFFFFFF


def _masked_crc(body: bytes) -> int:
    """Return the checksum that TFRecord files have."""
    crc = _crc(body)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _damaged(path: Path, what: str) -> ServingError:
    return ServingError(StatusCode.DATA_LOSS, f"{path}: {what}. Please verify your warmup data is in TFRecord format.")


def _records(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file: length, checksum of the length, body, checksum of the body."""
    at = 0
    while head := file.read(12):
        if len(head) < 12 or _masked_crc(head[:8]) != struct.unpack("<I", head[8:])[0]:
            raise _damaged(path, f"corrupted record at {at}")
        (length,) = struct.unpack("<Q", head[:8])
        if length > _MAX_RECORD_BYTES:
            raise _damaged(path, f"record of {length} bytes at {at}")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise _damaged(path, f"truncated record at {at}")
        if _masked_crc(body[:length]) != struct.unpack("<I", body[length:])[0]:
            raise _damaged(path, f"corrupted record at {at}")
        yield body[:length]
        at += 16 + length


def load_warm(model: str, number: int, folder: Path, batching: BatchingMode = "proved") -> Servable:
    """Load a version and answer its warm-up requests. Raises `ServingError` if either fails."""
    servable = Servable(model, number, folder, batching)
    try:
        servable.warm_up_requests = run_warm_up(servable)
    except BaseException:
        servable.close()
        raise
    return servable


def run_warm_up(servable: Servable) -> int:
    """Answer a version's warm-up requests.

    Returns:
        How many there were; 0: it has no such file.

    Raises:
        ServingError: a record cannot be read or fails, or there are more than `MAX_RECORDS`.
    """
    path = servable.folder / WARM_UP_FILE
    if not path.is_file():
        return 0
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from serving.protos import message

    count = 0
    with path.open("rb") as file:
        for record in _records(file, path):
            try:
                log = message("PredictionLog").FromString(record)
            except DecodeError as error:
                raise invalid(f"Failed to parse warmup record {count} from {path}") from error
            try:
                _run(servable, log)
            except ServingError as error:
                text = f"warm-up record {count} of {path}: {error.message}"
                raise ServingError(error.code, text) from error
            count += 1
            if count > MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    return count


def _run(servable: Servable, log: Any) -> None:
    from serving.server.rpc import requests as rpc

    kind = log.WhichOneof("log_type")
    if kind == "session_run_log":
        raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    if kind is None:
        return
    request = getattr(log, kind).request
    if kind == "predict_log":
        queue, values, aliases = rpc.predict_feeds(servable, request)
        rpc.prediction_reply(servable, request.model_spec.signature_name, aliases, queue.run(values))
        return
    examples = rpc.read_examples(request.input)
    for api, name in _tasks(kind, request):
        queue, reply = (
            (servable.classify_queue(name), rpc.classification_reply)
            if api == "classify"
            else (servable.regress_queue(name), rpc.regression_reply)
        )
        _answer(servable, name, queue, examples, reply)


def _tasks(kind: str, request: Any) -> Iterator[tuple[str, str]]:
    """Yield (method, signature name) of each inference of a request."""
    if kind != "multi_inference_log":
        yield kind.removesuffix("_log"), request.model_spec.signature_name
        return
    for task in request.tasks:
        method = task.method_name.removeprefix("tensorflow/serving/")
        if method not in ("classify", "regress"):
            raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        yield method, task.model_spec.signature_name


def _answer(
    servable: Servable,
    name: str,
    queue: BatchQueue,
    examples: Array,
    reply: Callable[[Servable, str, int, Outputs], Any],
) -> None:
    reply(servable, name, len(examples), queue.run([examples]))
