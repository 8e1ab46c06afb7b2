"""The backbones against each other, and their exports against the bare networks: milliseconds per photo, on one core.

    python -m bench.backbones --rounds 7      # two minutes

A bare network has its ImageNet weights as constants, batch norms folded, at its own size, with a head of 37 classes. An
export is the SavedModel that is served, opened as a server opens it: it decodes a JPEG of 464 × 348 pixels, cuts and
resizes it, and names its classes too. Photos come one at a time.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from training.model.backend import tensorflow

tf = tensorflow()

import keras  # noqa: E402  # after TensorFlow is imported without its start-up output
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # noqa: E402

from bench.export import load  # noqa: E402
from bench.processor import machine  # noqa: E402
from bench.rounds import Contender, Table, Threshold, judge, measure, spread  # noqa: E402
from orchard.reporter import Reporter  # noqa: E402
from training.model.backbones.named import BACKBONES, Backbone  # noqa: E402
from training.model.fold import fold  # noqa: E402
from training.model.savedmodel_export import export  # noqa: E402

BASELINE = "mobilenet_v2"
CLASSES = [f"class {number}" for number in range(37)]
CALLS = 10
"""Photos of one measurement."""

PHOTO = (464, 348)
SIZE = Threshold(f"{BASELINE}, the export's size, MB", 20, maximum=True)
TIME = Threshold(f"{BASELINE}, the export's time, times the bare network's", 1.15, maximum=True)


def make(backbone: Backbone) -> keras.Model:
    """The network of a backbone, from pixels to probabilities, with a random head."""
    image = keras.Input((backbone.size, backbone.size, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D(name="mean")(backbone.features(image))
    logits = keras.layers.Dense(len(CLASSES), name="logits")(pooled)
    model = keras.Model(image, keras.layers.Softmax(name="probabilities")(logits))
    backbone.load(model)
    return model


def freeze(model: keras.Model, size: int) -> Callable[[], Any]:
    """Return a call of the network alone, of one photo of random pixels."""
    folded = fold(model)
    given = tf.TensorSpec((1, size, size, 3), tf.float32)
    concrete = tf.function(lambda pixels: folded(pixels, training=False)).get_concrete_function(given)
    frozen = convert_variables_to_constants_v2(concrete)
    photo = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32))
    return lambda: frozen(photo)


def draw_jpeg() -> bytes:
    """A JPEG of the size of a shop photo."""
    noise = (np.random.default_rng(0).random((24, 18, 3)) * 255).astype(np.uint8)
    body = io.BytesIO()
    Image.fromarray(noise).resize(PHOTO, Image.Resampling.BICUBIC).save(body, "JPEG", quality=85)
    return body.getvalue()


def time_calls(call: Callable[[], Any]) -> Callable[[], float]:
    """Wrap a call: the result measures its milliseconds."""
    call()

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(CALLS):
            call()
        return 1000 * (time.perf_counter() - begin) / CALLS

    return run


def main() -> int:
    """Measure and print; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    print(machine())
    contenders, sizes, photo = [], {}, [draw_jpeg()]
    with tempfile.TemporaryDirectory() as scratch:
        for name, backbone in BACKBONES.items():
            model, folder = make(backbone), Path(scratch) / name
            export(model, CLASSES, folder, crop=True)
            sizes[name] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            print(f"{name}: {backbone.size} pixels, export {sizes[name]:.1f} MB")
            contenders.append(Contender(name, time_calls(freeze(model, backbone.size))))
            served = partial(load(folder), photo)
            contenders.append(Contender(f"{name}, export", time_calls(served)))
    table = measure(contenders, options.rounds, Reporter.silent(), unit="ms per photo")
    print(table.text(BASELINE))
    for name in BACKBONES:
        print(f"{name}: the export takes {spread(overhead(table, name))} times the bare network's time")
    reached = [judge(SIZE, [sizes[BASELINE]]), judge(TIME, overhead(table, BASELINE))]
    return 0 if all(reached) else 1


def overhead(table: Table, name: str) -> list[float]:
    """An export's time, as times the bare network's, round by round."""
    pairs = zip(table.figures[f"{name}, export"], table.figures[name], strict=True)
    return [export_time / bare for export_time, bare in pairs]


if __name__ == "__main__":
    raise SystemExit(main())
