"""KServe's Python server, as in its documentation: one model, one process, V1 protocol.

python -m bench.peers.kserve_peer MODEL PORT
"""

from __future__ import annotations

import base64
import sys
from typing import Any

FOLDER, PORT = sys.argv[1], int(sys.argv[2])
sys.argv = sys.argv[:1]  # kserve reads the command line when it is imported

import tensorflow as tf  # noqa: E402
from kserve import Model, ModelServer  # noqa: E402


class KServePeer(Model):
    """The model behind KServe's interface."""

    def load(self) -> bool:
        """Load it."""
        self.loaded = tf.saved_model.load(FOLDER)
        self.call = self.loaded.signatures["serving_default"]
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Predict; KServe calls it in the event loop's thread."""
        photos = [base64.b64decode(item["b64"]) for item in payload["instances"]]
        outputs = self.call(image_bytes=tf.constant(photos))
        rows = zip(*[outputs[name].numpy().tolist() for name in ("label", "probability", "probabilities")], strict=True)
        return {"predictions": [{"label": a.decode(), "probability": b, "probabilities": c} for a, b, c in rows]}


if __name__ == "__main__":
    model = KServePeer("m")
    model.load()
    ModelServer(http_port=PORT, workers=1, enable_grpc=False, enable_latency_logging=False).start([model])
