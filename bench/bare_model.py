"""What the model itself takes, in a process of its own: no HTTP, no JSON, the same session settings.

python -m bench.bare_model MODEL PHOTOS SECONDS      # {"p50": ms of one photo, "limit": photos a second by two threads}
python -m bench.bare_model MODEL PHOTOS answers      # PHOTOS with the model's answers written into it
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
    """A SavedModel's serving_default, run directly."""

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
        return {name: found for name, (found, _) in zip(self.names, self.call.run([array]), strict=True)}


def limit(model: BareModel, photos: list[bytes], seconds: float) -> float:
    """Photos a second when two threads run batches of 16 and nothing else."""
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
    """Median milliseconds of one photo by one thread."""
    end, times, at = time.perf_counter() + seconds, [], 0
    while time.perf_counter() < end:
        begin = time.perf_counter()
        model.run([photos[at % len(photos)]])
        times.append(time.perf_counter() - begin)
        at += 1
    return sorted(times)[len(times) // 2] * 1e3


def main() -> None:
    """Do what the command line asks for."""
    first, second, third = sys.argv[1:]
    model, path = BareModel(Path(first)), Path(second)
    listed = json.loads(path.read_text())
    photos = [base64.b64decode(item["b64"]) for item in listed]
    if third == "answers":
        for item, photo in zip(listed, photos, strict=True):
            found = model.run([photo])
            item["label"], item["probability"] = found["label"][0].decode(), float(found["probability"][0])
        path.write_text(json.dumps(listed))
        return
    model.run(photos[:BATCH])
    print(json.dumps({"p50": single(model, photos, float(third)), "limit": limit(model, photos, float(third))}))


if __name__ == "__main__":
    main()
