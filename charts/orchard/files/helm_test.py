"""Sends the golden photos of the version that the channel points to through the Service, and compares the answers."""

import base64
import json
import sys
from pathlib import Path

from orchard import settings
from orchard.client import ModelServer
from orchard.formatting import percent

loaded = settings.load()
folders = sorted(Path(loaded.serving_dir, loaded.model).glob("[0-9]*"), key=lambda folder: int(folder.name))
golden = json.loads((folders[-1] / "assets.extra" / "golden.json").read_text("utf-8"))["photos"]
photos = [base64.b64decode(photo["b64"]) for photo in golden]
tokens = Path("/keys/tokens/tokens")  # there where the server wants one
token = (
    next(line.strip() for line in tokens.read_text("utf-8").splitlines() if line.strip() and line[0] != "#")
    if tokens.exists()
    else None
)
with ModelServer(loaded.server_url, token=token) as server:
    answers = server.predict(photos, loaded.model, label=loaded.channel)
for photo, answer in zip(golden, answers, strict=True):
    print(f"{photo['label']}: answered {answer.label}, {percent(answer.probability)}")
wrong = [photo for photo, answer in zip(golden, answers, strict=True) if photo["label"] != answer.label]
print(f"version {folders[-1].name} of {loaded.model} at {loaded.server_url}: {len(wrong)} of {len(golden)} wrong")
sys.exit(1 if wrong or not golden else 0)
