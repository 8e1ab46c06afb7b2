"""grpc.aio with a pool of two threads, on TF Serving's own messages.

python -m bench.peers.grpc_peer MODEL PORT
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

loaded = tf.saved_model.load(sys.argv[1])
call = loaded.signatures["serving_default"]
pool = ThreadPoolExecutor(2)


def run(request: Any) -> Any:
    """Predict, in the pool."""
    outputs = call(image_bytes=tf.constant(tf.make_ndarray(request.inputs["image_bytes"])))
    response = predict_pb2.PredictResponse()
    for name, tensor in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
    return response


class PeerService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """PredictionService."""

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  its name in the protocol
        """Predict."""
        return await asyncio.get_running_loop().run_in_executor(pool, run, request)


async def main() -> None:
    """Serve."""
    server = grpc.aio.server()
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PeerService(), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
