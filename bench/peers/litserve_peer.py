"""LitServe with batches of up to 32 within 2 ms.

python -m bench.peers.litserve_peer MODEL PORT
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve


class LitServePeer(litserve.LitAPI):
    """The model behind LitServe's interface."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        import tensorflow as tf

        self.tf = tf
        self.loaded = tf.saved_model.load(sys.argv[1])
        self.call = self.loaded.signatures["serving_default"]

    # without an annotation: LitServe treats an annotated request as a query parameter
    def decode_request(self, request) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Decode the photo of a body."""
        return base64.b64decode(request["instances"][0]["b64"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Make a batch."""
        return list(inputs)

    def predict(self, x: Any) -> Any:
        """Run the model on a batch."""
        outputs = self.call(image_bytes=self.tf.constant(x))
        return list(
            zip(
                outputs["label"].numpy().tolist(),
                outputs["probability"].numpy().tolist(),
                outputs["probabilities"].numpy().tolist(),
                strict=True,
            )
        )

    def unbatch(self, output: Any) -> Any:
        """Split a batch's answers."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Format an answer."""
        label, probability, probabilities = output
        row = {"label": label.decode(), "probability": probability, "probabilities": probabilities}
        return {"predictions": [row]}


if __name__ == "__main__":
    server = litserve.LitServer(
        LitServePeer(max_batch_size=32, batch_timeout=0.002), accelerator="cpu", workers_per_device=1
    )
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
