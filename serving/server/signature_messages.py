"""Signatures as protobuf messages: for gRPC's metadata, and as the text that TF Serving's errors show."""

from __future__ import annotations

from typing import Any

from orchard.savedmodel.signatures import SignatureDef, TensorInfo
from orchard.savedmodel.types import REFERENCE

__all__ = ["fill_signature_def", "signature_text"]


def _fill_info(info: TensorInfo, proto: Any) -> None:
    proto.name, proto.dtype = info.name, info.dtype.number + REFERENCE * info.reference
    proto.tensor_shape.SetInParent()
    proto.tensor_shape.unknown_rank = info.shape is None
    for dim in info.shape or ():
        proto.tensor_shape.dim.add(size=dim.size, name=dim.name)


def fill_signature_def(signature: SignatureDef, proto: Any) -> None:
    """Fill a SignatureDef message."""
    proto.method_name = signature.method_name
    for infos, protos in ((signature.inputs, proto.inputs), (signature.outputs, proto.outputs)):
        for alias, info in infos.items():
            _fill_info(info, protos[alias])


def signature_text(signature: SignatureDef) -> str:
    """Return a signature in protobuf's text format, as `DebugString` does."""
    from google.protobuf import text_format  # type: ignore[import-untyped]  # protobuf: needed by gRPC and here only

    from serving.protos import message

    proto = message("tensorflow.SignatureDef")()
    fill_signature_def(signature, proto)
    return str(text_format.MessageToString(proto))
