"""Training input: Orchard's photos in memory against Keras' `image_dataset_from_directory`, and against no input at all.

    python -m bench.input --dataset data/fruits --rounds 5       # minutes; make the dataset with `orchard ingest`

1. **First epoch**: from the dataset folder (verified, decoded, sorted) to the last batch, against Keras reading
   the same photos as loose files. The time that Keras needs to list the files is not counted.
2. **Later epochs**: every photo once, in a new order, as float32 batches, as from Keras.
3. **Fit**: the training step on those batches against the same step, augmentation included, on one constant
   batch; and the slowest epoch against the median one.
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

import keras  # noqa: E402  # after TensorFlow is imported without its start-up output
import numpy as np  # noqa: E402

from bench.processor import machine  # noqa: E402
from bench.rounds import Contender, Table, Threshold, judge, measure  # noqa: E402
from orchard.reporter import Reporter  # noqa: E402
from training import params  # noqa: E402
from training.data.shards import iterate, read_index  # noqa: E402
from training.model.feed import BatchIterator  # noqa: E402
from training.model.in_memory import InMemoryPhotos, read_photos  # noqa: E402
from training.model.trainer import Trainer  # noqa: E402
from training.params import Params  # noqa: E402

FIRST = Threshold("first epoch, images/s against Keras", 2)
LATER = Threshold("later epochs, images/s against Keras", 15)
FIT = Threshold("fit, images/s against a resident synthetic batch", 0.95)
EVEN = Threshold("slowest epoch against the median one", 1.2, maximum=True)
KERAS, ORCHARD, SYNTHETIC = "keras, loose files", "orchard, shards", "one resident batch"
EPOCHS = 8
"""Epochs of `fit` whose times are compared."""


class SyntheticBatches(BatchIterator):
    """The same photos at every step, from a constant: no gather, no shuffle."""

    def __init__(self, photos: InMemoryPhotos, batch_size: int, seed: int) -> None:
        super().__init__(photos, batch_size, seed)
        self._constant = tf.constant(photos.pixels[:batch_size]), tf.constant(photos.labels[:batch_size])

    def take(self, positions: Any) -> tuple[Any, Any]:
        """Return the constant batch."""
        return self._constant


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
    """Read every batch; returns the number of photos."""
    return sum(len(labels) for _, labels in batches)


def rate(work: Callable[[], int]) -> Callable[[], float]:
    """Wrap work that returns its number of photos: the result measures photos/s."""

    def run() -> float:
        begin = time.perf_counter()
        return work() / (time.perf_counter() - begin)

    return run


def compare_epochs(dataset: Path, loose: Path, train_params: Params, rounds: int) -> tuple[Table, Table]:
    """Measure the first epoch and a later one."""
    train = train_params.train
    size, batch, seed = train_params.model.image_size, train.batch_size, train.seed
    index = read_index(dataset)
    files: list[Any] = []

    def list_files() -> None:
        loaded = keras.utils.image_dataset_from_directory(
            loose, image_size=(size, size), batch_size=batch, shuffle=True, seed=seed, verbose=False
        )
        files[:] = [loaded]

    def read() -> BatchIterator:
        return BatchIterator(read_photos(dataset, index, "train", size), batch, seed)

    def read_epoch(feed: BatchIterator) -> int:
        batches = (feed.take(positions) for positions in feed.batches(0))
        return drain((tf.cast(pixels, tf.float32), labels) for pixels, labels in batches)

    keras_epoch = rate(lambda: drain(files[0]))
    first = [Contender(KERAS, keras_epoch, list_files), Contender(ORCHARD, rate(lambda: read_epoch(read())))]
    resident = read()
    later = [Contender(KERAS, keras_epoch), Contender(ORCHARD, rate(lambda: read_epoch(resident)))]
    first_table, later_table = (
        measure(pair, rounds, Reporter(), unit="images/s", higher_is_better=True) for pair in (first, later)
    )
    return first_table, later_table


def compare_fits(dataset: Path, train_params: Params, rounds: int, most: int) -> tuple[Table, list[float]]:
    """Measure the training step on `most` photos against the step on one batch; and the seconds of `EPOCHS` epochs."""
    index, train = read_index(dataset), train_params.train
    photos = read_photos(dataset, index, "train", train_params.model.image_size)
    photos = photos.select(np.arange(len(photos)) < most)
    trainers = {
        name: Trainer(train_params, len(index.classes), kind(photos, train.batch_size, train.seed))
        for name, kind in ((ORCHARD, BatchIterator), (SYNTHETIC, SyntheticBatches))
    }

    def learn(trainer: Trainer, epoch: int = 0) -> int:
        for step, positions in enumerate(trainer.feed.batches(epoch)):
            trainer.learn(positions, epoch, step)
        return len(photos)

    for trainer in trainers.values():
        learn(trainer)
    contenders = [
        Contender(name, rate(lambda trainer=trainer: learn(trainer)))  # type: ignore[misc]
        for name, trainer in trainers.items()
    ]
    table = measure(contenders, rounds, Reporter(), unit="images/s", higher_is_better=True)
    photos_per_second = rate(lambda: learn(trainers[ORCHARD]))
    return table, [len(photos) / photos_per_second() for _ in range(EPOCHS)]


def main() -> int:
    """Measure, print the tables and judge; returns 1 if a threshold was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("data/fruits"), help="the dataset folder")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fit-photos", type=int, default=4096, help="photos of an epoch of fit")
    options = parser.parse_args()
    loaded_params = params.load(options.params)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{unpack(options.dataset, Path(scratch))} training photos of {options.dataset}, also as loose files")
        first, later = compare_epochs(options.dataset, Path(scratch), loaded_params, options.rounds)
    fits, seconds = compare_fits(options.dataset, loaded_params, options.rounds, options.fit_photos)
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
