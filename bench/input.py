"""Photos into training: Orchard's resident photos against Keras' `image_dataset_from_directory`, and against no input at all.

    python -m bench.input --dataset data/fruits --rounds 5       # minutes; `orchard ingest` makes the dataset

1. **First epoch**: from the dataset folder (verified, decoded, put in order) to the last batch, against Keras reading
   the same photos as loose files. What Keras needs to list the files is not counted.
2. **Later epochs**: every photo once, in a new order, as float32 batches, as Keras gives them.
3. **Fit**: the training step on those batches against the same step, augmentation included, on one batch that is
   always there; and how even the epochs are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from training.model.backend import tensorflow

tf = tensorflow()

import keras  # noqa: E402  # after TensorFlow's start-up chatter is held back
import numpy as np  # noqa: E402

from bench.rounds import Contender, Table, Threshold, judge, machine, measure  # noqa: E402
from orchard.reporter import Reporter  # noqa: E402
from training import params  # noqa: E402
from training.data.shards import iterate, read_index  # noqa: E402
from training.model.in_memory import InMemoryPhotos, read_photos  # noqa: E402
from training.model.trainer import BatchIterator, Trainer  # noqa: E402
from training.params import Params  # noqa: E402

FIRST = Threshold("first epoch, images/s against Keras", 2)
LATER = Threshold("later epochs, images/s against Keras", 15)
FIT = Threshold("fit, images/s against a resident synthetic batch", 0.95)
EVEN = Threshold("slowest epoch against the median one", 1.2, most=True)
KERAS, ORCHARD, SYNTHETIC = "keras, loose files", "orchard, shards", "one resident batch"
EPOCHS = 8
"""Epochs of `fit` that are held against each other."""


class SyntheticBatches(BatchIterator):
    """Gives the same photos at every step, from a constant: nothing is gathered, nothing shuffled."""

    def __init__(self, photos: InMemoryPhotos, batch_size: int, seed: int) -> None:
        super().__init__(photos, batch_size, seed)
        self._given = tf.constant(photos.pixels[:batch_size]), tf.constant(photos.labels[:batch_size])

    def take(self, positions: Any) -> tuple[Any, Any]:
        """Return the constant batch."""
        return self._given


def unpack(dataset: Path, folder: Path) -> int:
    """Write the training photos as `<class>/<number>.jpg`; returns how many there are."""
    number = 0
    for batch in iterate(dataset, columns=("image.bytes", "label"), splits=["train"]):
        for image, label in zip(batch["image"], batch["label"].to_pylist(), strict=True):
            (folder / label).mkdir(exist_ok=True)
            (folder / label / f"{number:06d}.jpg").write_bytes(image["bytes"].as_py())
            number += 1
    return number


def drain(batches: Iterable[Any]) -> int:
    """Take every batch; returns how many photos they held."""
    return sum(len(labels) for _, labels in batches)


def rate(work: Callable[[], int]) -> Callable[[], float]:
    """Make a measured run of something that returns how many photos it handled: photos a second."""

    def run() -> float:
        begin = time.perf_counter()
        return work() / (time.perf_counter() - begin)

    return run


def compare_epochs(dataset: Path, loose: Path, found: Params, rounds: int) -> tuple[Table, Table]:
    """Measure the first epoch and a later one."""
    size, batch, seed = found.model.image_size, found.train.batch_size, found.train.seed
    index = read_index(dataset)
    files: list[Any] = []

    def list_files() -> None:
        listed = keras.utils.image_dataset_from_directory(
            loose, image_size=(size, size), batch_size=batch, shuffle=True, seed=seed, verbose=False
        )
        files[:] = [listed]

    def read() -> BatchIterator:
        return BatchIterator(read_photos(dataset, index, "train", size), batch, seed)

    def deliver(feed: BatchIterator) -> int:
        taken = (feed.take(positions) for positions in feed.batches(0))
        return drain((tf.cast(pixels, tf.float32), labels) for pixels, labels in taken)

    keras_epoch = rate(lambda: drain(files[0]))
    first = [Contender(KERAS, keras_epoch, list_files), Contender(ORCHARD, rate(lambda: deliver(read())))]
    resident = read()
    later = [Contender(KERAS, keras_epoch), Contender(ORCHARD, rate(lambda: deliver(resident)))]
    first_table, later_table = (
        measure(pair, rounds, Reporter(), unit="images/s", higher_is_better=True) for pair in (first, later)
    )
    return first_table, later_table


def compare_fits(dataset: Path, found: Params, rounds: int, most: int) -> tuple[Table, list[float]]:
    """Measure the training step on `most` photos against the step on one batch; and the seconds of `EPOCHS` epochs."""
    index = read_index(dataset)
    photos = read_photos(dataset, index, "train", found.model.image_size)
    photos = photos.select(np.arange(len(photos)) < most)
    learners = {
        name: Trainer(found, len(index.classes), kind(photos, found.train.batch_size, found.train.seed))
        for name, kind in ((ORCHARD, BatchIterator), (SYNTHETIC, SyntheticBatches))
    }

    def learn(learner: Trainer, epoch: int = 0) -> int:
        for step, positions in enumerate(learner.feed.batches(epoch)):
            learner.learn(positions, epoch, step)
        return len(photos)

    for learner in learners.values():
        learn(learner)
    candidates = [
        Contender(name, rate(lambda learner=learner: learn(learner)))  # type: ignore[misc]
        for name, learner in learners.items()
    ]
    table = measure(candidates, rounds, Reporter(), unit="images/s", higher_is_better=True)
    even = rate(lambda: learn(learners[ORCHARD]))
    return table, [len(photos) / even() for _ in range(EPOCHS)]


def main() -> int:
    """Measure, print the tables and say which bars are reached; 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("data/fruits"), help="the dataset folder")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fit-photos", type=int, default=4096, help="photos of an epoch of fit")
    options = parser.parse_args()
    found = params.load(options.params)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{unpack(options.dataset, Path(scratch))} training photos of {options.dataset}, also as loose files")
        first, later = compare_epochs(options.dataset, Path(scratch), found, options.rounds)
    fits, seconds = compare_fits(options.dataset, found, options.rounds, options.fit_photos)
    for title, table, baseline in (
        ("first epoch", first, KERAS),
        ("later epochs", later, KERAS),
        ("fit", fits, SYNTHETIC),
    ):
        print(f"\n{title}\n{table.text(baseline)}")
    print()
    median = statistics.median(seconds)
    reached = [
        judge(FIRST, first.ratios(ORCHARD, KERAS)),
        judge(LATER, later.ratios(ORCHARD, KERAS)),
        judge(FIT, fits.ratios(ORCHARD, SYNTHETIC)),
        judge(EVEN, [max(seconds) / median]),
    ]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
