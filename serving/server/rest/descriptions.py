"""Status and metadata as JSON, in the layout of protobuf's JSON printer: one space a level, as in TF Serving."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from serving.status_codes import StatusCode

__all__ = ["metadata_reply", "status_reply"]

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "\x7f": "\\u007f"}


def _dump(document: Any) -> str:
    text = json.dumps(document, indent=1, ensure_ascii=False)
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    return re.sub("[<>\x7f]", lambda match: _ESCAPES[match[0]], text) + "\n"


def status_reply(versions: Iterable[tuple[int, str, StatusCode, str]]) -> bytes:
    """Return the status response of versions, each (number, state, error code, error message)."""
    rows = [
        {
            "version": str(number),
            "state": state,
            "status": {"error_code": code.name, "error_message": message},
        }
        for number, state, code, message in versions
    ]
    return _dump({"model_version_status": rows}).encode()


def _tensor(info: TensorInfo) -> dict[str, Any]:
    dims = [{"size": str(dim.size), "name": dim.name} for dim in info.shape or ()]
    return {
        "dtype": info.dtype.proto + ("_REF" if info.reference else ""),
        "tensor_shape": {"dim": dims, "unknown_rank": info.shape is None},
        "name": info.name,
    }


def _signature(signature: SignatureDef) -> dict[str, Any]:
    return {
        "inputs": {alias: _tensor(info) for alias, info in signature.inputs.items()},
        "outputs": {alias: _tensor(info) for alias, info in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def metadata_reply(name: str, version: int, signatures: Mapping[str, SignatureDef]) -> bytes:
    """Return the metadata response of a version."""
    spec = _dump({"name": name, "signature_name": "", "version": str(version)})
    definitions = _dump({"signature_def": {key: _signature(signature) for key, signature in signatures.items()}})
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {definitions}}}\n}}\n'.encode()
