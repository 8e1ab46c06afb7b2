# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 · Ask the served model
#
# A notebook is not production. The model that others use was trained by `dvc repro`, passed the gate, was published and promoted, and
# runs in a model server. You ask it over HTTP.
#
# You learn
#
# - TensorFlow Serving's API: status, metadata, predict;
# - why the request holds the bytes of a file, and not an array of pixels;
# - what a wrong request gets for an answer.
#
# Start the server first, in another terminal: `make serve` (it serves what `make demo` published), or `make demo KEEP=1`.

# %%
import base64
import io
import json
import os
import time

import course
import matplotlib.pyplot as plt
import numpy as np
import requests
from PIL import Image

SERVER = os.environ.get("ORCHARD_SERVER_URL", "http://127.0.0.1:8501")
MODEL = f"{SERVER}/v1/models/fruits"
SECONDS = 10  # never wait for ever

try:
    status = requests.get(MODEL, timeout=SECONDS)
except requests.ConnectionError:
    raise SystemExit(
        f"No model server answers at {SERVER}. Run `make serve` in another terminal, then this cell again."
    ) from None
status.raise_for_status()
print(json.dumps(status.json(), indent=1))

# %% [markdown]
# `AVAILABLE` means that this version is loaded and answers. A new version is loaded beside the old one before it takes over, so there
# is always one that answers.

# %% [markdown]
# ## What does it want, what does it return?
#
# The *signature* of the model: names, types and shapes. Nobody has to guess the size of the photos or the order of the classes.

# %%
metadata = requests.get(f"{MODEL}/metadata", timeout=SECONDS).json()
signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
for direction in ("inputs", "outputs"):
    for name, tensor in signature[direction].items():
        shape = [int(size["size"]) for size in tensor["tensor_shape"].get("dim", [])]
        print(f"{direction[:-1]:7} {name:16} {tensor['dtype']:10} {shape}")

# %% [markdown]
# A `-1` is the number of photos. The input is a string: the bytes of a JPEG or PNG file. Decoding, turning, scaling and the names of
# the classes are inside the model. The workshop's client did them itself, with blue and red exchanged.
#
# **Question.** What must every client change when the model gets photos of 224 pixels instead of 50?

# %% [markdown]
# ## Predict
#
# JSON cannot hold bytes, so they are written in base64, as `{"b64": "…"}`. One request takes several photos.


# %%
def predict(bodies: list[bytes]) -> list[dict]:
    instances = [{"b64": base64.b64encode(body).decode()} for body in bodies]
    answer = requests.post(f"{MODEL}:predict", json={"instances": instances}, timeout=SECONDS)
    answer.raise_for_status()
    return answer.json()["predictions"]


EASY, HARD = course.sources()
photos = [*course.read_photos("test", EASY, per_class=1)[:8], *course.read_photos("test", HARD, per_class=1)[:8]]
answers = predict([photo.body for photo in photos])
first = answers[0]
print({name: value for name, value in first.items() if name in ("label", "probability")})
print("sum of the probabilities:", round(sum(first["probabilities"]), 4))

# %%
pictures = [Image.open(io.BytesIO(photo.body)).resize((160, 160)) for photo in photos]
titles = [
    f"{photo.label}\n{'✓' if answer['label'] == photo.label else '✗'} {answer['label']} {answer['probability']:.0%}"
    for photo, answer in zip(photos, answers, strict=True)
]
course.show(pictures, titles, columns=4, size=2)

# %% [markdown]
# Above each photo: its class, then the answer. The second half is from the shop.

# %% [markdown]
# ## A wrong request
#
# Send a text file in place of a photo. The server refuses it with a status and a reason, and goes on serving.

# %%
request = {"instances": [{"b64": base64.b64encode(b"I am no photo").decode()}]}
refused = requests.post(f"{MODEL}:predict", json=request, timeout=SECONDS)
print(refused.status_code, refused.json()["error"][:300])

# %% [markdown]
# ## How long does an answer take?

# %%
durations = []
for photo in (photos * 4)[:40]:
    begin = time.perf_counter()
    predict([photo.body])
    durations.append(1000 * (time.perf_counter() - begin))
figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
axis.hist(durations, bins=20)
axis.axvline(np.median(durations), color="black", label=f"median {np.median(durations):.1f} ms")
axis.set(xlabel="milliseconds, with connection and JSON", ylabel="requests")
axis.legend()
plt.show()

# %% [markdown]
# ## Exercise
#
# 1. Ask with a photo of your own: `predict([open("photo.jpg", "rb").read()])`.
# 2. A channel is a name for a version. Ask the channel: `f"{MODEL}/labels/stable:predict"`. Then run
#    `orchard history` in the environment that `make demo KEEP=1` prints, and find who promoted the version.
# 3. Send all photos one by one, then all in one request. Which is faster, and by how much?

# %%
begin = time.perf_counter()
predict([photo.body for photo in photos])
print(f"{len(photos)} photos in one request: {1000 * (time.perf_counter() - begin):.0f} ms")
