"""The backbones against each other: milliseconds per photo, one at a time, on one core.

    python -m bench.backbones --rounds 7      # half a minute

Each is the network alone, as in an export: its ImageNet weights as constants, batch norms folded, at its own size, with
a head of 37 classes. Decoding a photo is not included. The figures have no threshold: they are what a choice costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from training.model.backend import tensorflow

tf = tensorflow()

import keras  # noqa: E402  # after TensorFlow is imported without its start-up output
import numpy as np  # noqa: E402
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # noqa: E402

from bench.processor import machine  # noqa: E402
from bench.rounds import Contender, measure  # noqa: E402
from orchard.reporter import Reporter  # noqa: E402
from training.model.backbones.named import BACKBONES, Backbone  # noqa: E402
from training.model.fold import fold  # noqa: E402

BASELINE = "mobilenet_v2"
CLASSES = 37
CALLS = 10
"""Photos of one measurement."""


def freeze(backbone: Backbone) -> tuple[Callable[[Any], Any], int]:
    """Return the network from one photo to logits, and the bytes of its graph."""
    image = keras.Input((backbone.size, backbone.size, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D(name="mean")(backbone.features(image))
    model = keras.Model(image, keras.layers.Dense(CLASSES, name="logits")(pooled))
    backbone.load(model)
    folded = fold(model)
    given = tf.TensorSpec((1, backbone.size, backbone.size, 3), tf.float32)
    concrete = tf.function(lambda pixels: folded(pixels, training=False)).get_concrete_function(given)
    frozen = convert_variables_to_constants_v2(concrete)
    return frozen, frozen.graph.as_graph_def().ByteSize()


def time_calls(call: Callable[[Any], Any], size: int) -> Callable[[], float]:
    """Wrap a network: the result measures the milliseconds of a photo."""
    photo = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32))
    call(photo)

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(CALLS):
            call(photo)
        return 1000 * (time.perf_counter() - begin) / CALLS

    return run


def main() -> int:
    """Measure and print; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    print(machine())
    contenders = []
    for backbone in BACKBONES.values():
        call, size = freeze(backbone)
        print(f"{backbone.name}: {backbone.size} pixels, graph {size / 1e6:.1f} MB")
        contenders.append(Contender(backbone.name, time_calls(call, backbone.size)))
    table = measure(contenders, options.rounds, Reporter.silent(), unit="ms per photo")
    print(table.text(BASELINE))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
