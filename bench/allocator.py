"""TensorFlow's own allocator against the C library's, in the training step of a pretrained network.

    python -m bench.allocator --rounds 5 --size 224      # four minutes

Each measurement is a process of its own, because the allocator is chosen when TensorFlow is imported: four steps of 32
photos, after one that is not counted. The extra `backbones` must be installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.processor import machine
from bench.rounds import Contender, Threshold, judge, measure
from orchard.reporter import Reporter

VARIABLE = "TF_CPU_ALLOCATOR_USE_BFC"
OURS, LIBC = "TensorFlow's allocator", "malloc"
RATE = Threshold("photos/s against malloc", 1.1)
STEPS, PHOTOS, CLASSES = 4, 32, 37


def train_steps(size: int) -> float:
    """Return the photos/s of a few steps, after one that makes the graph."""
    from training.model.backend import tensorflow

    tensorflow()
    from training import params
    from training.model.feed import BatchIterator
    from training.model.in_memory import InMemoryPhotos
    from training.model.trainer import Trainer

    overrides = [f"model.image_size={size}", "train.sizes=[]", f"train.batch_size={PHOTOS}"]
    random, names = np.random.default_rng(0), tuple(map(str, range(PHOTOS)))
    photos = InMemoryPhotos(
        pixels=random.integers(0, 255, (PHOTOS, size, size, 3), np.uint8),
        labels=random.integers(0, CLASSES, PHOTOS, np.int32),
        sources=("shop",) * PHOTOS,
        paths=names,
        digests=names,
    )
    loaded = params.load(Path("params.yaml"), overrides, "transfer")
    trainer = Trainer(loaded, CLASSES, BatchIterator(photos, PHOTOS, 7))
    (batch,) = trainer.feed.batches(0)
    trainer.learn(batch, 0, 0)
    begin = time.perf_counter()
    for step in range(STEPS):
        trainer.learn(batch, 1, step)
    return STEPS * PHOTOS / (time.perf_counter() - begin)


def in_a_process(size: int, use: str) -> Callable[[], float]:
    """Wrap the steps: the result measures them in a new process with an allocator."""
    command = [sys.executable, "-m", "bench.allocator", "--steps", "--size", str(size)]

    def run() -> float:
        done = subprocess.run(
            command, env={**os.environ, VARIABLE: use}, stdout=subprocess.PIPE, text=True, check=True, timeout=600
        )
        return float(done.stdout.split()[-1])

    return run


def main() -> int:
    """Print the table; returns 1 if the threshold is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--steps", action="store_true", help="only measure this process, for the bench itself")
    options = parser.parse_args()
    if options.steps:
        print(train_steps(options.size))
        return 0
    print(machine())
    contenders = [Contender(name, in_a_process(options.size, use)) for name, use in ((LIBC, "false"), (OURS, "true"))]
    table = measure(contenders, options.rounds, Reporter(), unit="photos/s", higher_is_better=True)
    print(table.text(LIBC))
    return 0 if judge(RATE, table.ratios(OURS, LIBC)) else 1


if __name__ == "__main__":
    sys.exit(main())
