"""A gRPC client of a server under test."""

from __future__ import annotations

import grpc
import numpy as np

from orchard.savedmodel.types import data_type
from serving.protos import message, method_types
from serving.server.runtime.tensor_protos import to_proto
from tests.serving.programs import Serve, until

__all__ = ["GrpcTestClient", "dial", "grpc_port"]


def dial(server: Serve) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{grpc_port(server)}")


def grpc_port(server: Serve) -> int:
    line = until(lambda: next((x for x in server.text.splitlines() if "grpc_port=" in x), ""), "gRPC listens")
    return int(line.rsplit("=", 1)[1])


class GrpcTestClient:
    """Calls methods by name."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def call(self, method: str, request, service: str = "PredictionService", **more):
        response = method_types(service)[method][1]
        stub = self.channel.unary_unary(
            f"/tensorflow.serving.{service}/{method}", type(request).SerializeToString, response.FromString
        )
        return stub(request, timeout=20, **more)

    def predict(self, model: str, inputs: dict[str, np.ndarray], *, signature: str = "", version: int = 0, **more):
        request = message("PredictRequest")()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        if version:
            request.model_spec.version.value = version
        for alias, array in inputs.items():
            number = {"f": 1, "d": 2, "i": 3, "l": 9, "O": 7, "?": 10, "e": 19}[array.dtype.char]
            to_proto(array, data_type(number), request.inputs[alias])
        request.output_filter.extend(more.pop("outputs", ()))
        return self.call("Predict", request, **more)
