"""MLServer with adaptive batching (32 within 2 ms) and inference in its own process, on the Open Inference Protocol.

python -m bench.peers.mlserver_peer MODEL PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pybase64
import tensorflow as tf
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class MLServerPeer(MLModel):
    """The model behind MLServer's interface."""

    async def load(self) -> bool:
        """Load it."""
        self.loaded = tf.saved_model.load(self.settings.parameters.uri)
        self.call = self.loaded.signatures["serving_default"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict."""
        photos = [pybase64.b64decode(item) for item in payload.inputs[0].data]
        answers = self.call(image_bytes=tf.constant(photos))
        rows = len(photos)
        labels = [label.decode() for label in answers["label"].numpy().tolist()]
        probabilities = answers["probabilities"].numpy()
        outputs: list[Any] = [
            ResponseOutput(name="label", shape=[rows, 1], datatype="BYTES", data=labels),
            ResponseOutput(
                name="probability", shape=[rows, 1], datatype="FP32", data=answers["probability"].numpy().tolist()
            ),
            ResponseOutput(
                name="probabilities",
                shape=list(probabilities.shape),
                datatype="FP32",
                data=probabilities.reshape(-1).tolist(),
            ),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main() -> None:
    """Serve."""
    port = int(sys.argv[2])
    settings = Settings(
        debug=False, host="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=0
    )
    model = ModelSettings(
        name="m",
        implementation=MLServerPeer,
        max_batch_size=32,
        max_batch_time=0.002,
        parameters=ModelParameters(uri=sys.argv[1]),
    )
    server = MLServer(settings)
    await server.start([model])


if __name__ == "__main__":
    asyncio.run(main())
