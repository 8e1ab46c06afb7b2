"""FastAPI and uvicorn with FastAPI's thread pool; TensorFlow with one thread per operation.

python -m bench.peers.fastapi_peer MODEL PORT
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import tensorflow as tf
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Instance(BaseModel):
    """A photo."""

    b64: str


class Body(BaseModel):
    """Photos."""

    instances: list[Instance]


loaded = tf.saved_model.load(sys.argv[1])
predict = loaded.signatures["serving_default"]
app = FastAPI()


@app.get("/ready")
def ready() -> dict[str, bool]:
    """Answer that the server is up."""
    return {"ready": True}


@app.post("/predict")
def answer(body: Body) -> dict[str, Any]:
    """Predict."""
    outputs = predict(image_bytes=tf.constant([base64.b64decode(item.b64) for item in body.instances]))
    rows = zip(
        outputs["label"].numpy().tolist(),
        outputs["probability"].numpy().tolist(),
        outputs["probabilities"].numpy().tolist(),
        strict=True,
    )
    return {"predictions": [{"label": a.decode(), "probability": b, "probabilities": c} for a, b, c in rows]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
