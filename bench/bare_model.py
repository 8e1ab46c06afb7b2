"""The model alone, in its own process: no HTTP, no JSON, the same session settings as the server.

python -m bench.bare_model MODEL PHOTOS SECONDS      # {"p50": ms of one photo, "limit": photos/s of two threads}
python -m bench.bare_model MODEL PHOTOS answers      # adds the model's answers to PHOTOS
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH, THREADS = 16, 2


class BareModel:
    """A SavedModel's serving_default, called directly."""

    def __init__(self, folder: Path) -> None:
        from serving.server.runtime.session import SignatureCall, TfSession

        session = TfSession(folder)
        signature = session.signatures["serving_default"]
        self.names = list(signature.outputs)
        outputs = [info.name for info in signature.outputs.values()]
        self.call = SignatureCall(session, [(info.name, info.dtype) for info in signature.inputs.values()], outputs)

    def run(self, photos: list[bytes]) -> dict[str, Any]:
        """Predict."""
        array = np.empty(len(photos), object)
        array[:] = photos
        return {name: value for name, (value, _) in zip(self.names, self.call.run([array]), strict=True)}


def limit(model: BareModel, photos: list[bytes], seconds: float) -> float:
    """Photos per second of two threads that run batches of 16."""
    end, counts = time.perf_counter() + seconds, [0] * THREADS

    def work(thread: int) -> None:
        at = thread * 31
        while time.perf_counter() < end:
            model.run([photos[(at + step) % len(photos)] for step in range(BATCH)])
            counts[thread] += BATCH
            at += BATCH

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def single(model: BareModel, photos: list[bytes], seconds: float) -> float:
    """Median milliseconds of one photo on one thread."""
    end, times, at = time.perf_counter() + seconds, [], 0
    while time.perf_counter() < end:
        begin = time.perf_counter()
        model.run([photos[at % len(photos)]])
        times.append(time.perf_counter() - begin)
        at += 1
    return sorted(times)[len(times) // 2] * 1e3


def main() -> None:
    """Run the command line."""
    folder, photos_file, mode = sys.argv[1:]
    model, path = BareModel(Path(folder)), Path(photos_file)
    items = json.loads(path.read_text())
    photos = [base64.b64decode(item["b64"]) for item in items]
    if mode == "answers":
        for item, photo in zip(items, photos, strict=True):
            outputs = model.run([photo])
            item["label"], item["probability"] = outputs["label"][0].decode(), float(outputs["probability"][0])
        path.write_text(json.dumps(items))
        return
    model.run(photos[:BATCH])
    print(json.dumps({"p50": single(model, photos, float(mode)), "limit": limit(model, photos, float(mode))}))


if __name__ == "__main__":
    main()
