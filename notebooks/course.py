"""What the notebooks share: reading the photos of an Orchard dataset, and showing them.

The notebooks read the dataset folder in the variable NOTEBOOK_DATASET, otherwise the one of the last `make demo`.
NOTEBOOK_EPOCHS replaces the number of epochs of every training: the test has little time.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from k_means import farthest_points, k_means

from orchard.errors import DataError
from orchard.intervals import share_interval
from training.data.shards import INDEX, iterate, read_index

__all__ = [
    "CoursePhoto",
    "arrays",
    "as_percent",
    "classes",
    "dataset_folder",
    "epochs",
    "hold_out_look_alikes",
    "plot_curves",
    "plot_shares",
    "read_photos",
    "show",
    "sources",
    "start_keras",
]

CHECKOUT = Path(__file__).resolve().parents[1]
DEMO = CHECKOUT / ".orchard" / "demo"
SHORT = "NOTEBOOK_EPOCHS"
STYLE = {"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11, "font.size": 10}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of lines and bars; people who confuse red and green can tell them apart."""

THUMBNAIL = 8
"""Pixels a side of the pictures whose likeness `hold_out_look_alikes` compares."""

Pixels = npt.NDArray[np.uint8]

plt.rcParams.update(STYLE)
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)


@dataclass(frozen=True, slots=True)
class CoursePhoto:
    """One photo: the bytes of its file, its class, where it was taken, and the name of its file."""

    body: bytes
    label: str
    source: str
    path: str


def start_keras(seed: int = 7) -> None:
    """Import TensorFlow without its start-up messages, and seed everything that is random. Call it before `import keras`."""
    os.environ.setdefault("KERAS_HOME", str(CHECKOUT / ".orchard" / "keras"))
    from training.model.backend import tensorflow

    tf = tensorflow()
    tf.get_logger().setLevel("ERROR")  # no advice about retracing
    if SHORT in os.environ:
        tf.config.run_functions_eagerly(True)  # building the graphs would take longer than the few steps
    import keras

    keras.utils.set_random_seed(seed)


def dataset_folder() -> Path:
    """Return the folder of the dataset.

    Raises:
        DataError: there is none; the error names the command that makes one.
    """
    named = os.environ.get("NOTEBOOK_DATASET")
    found = [Path(named)] if named else sorted(DEMO.glob("*/data/*"), key=lambda folder: folder.stat().st_mtime)
    for folder in reversed(found):
        if (folder / INDEX).exists():
            return folder
    raise DataError(
        f"the notebooks found no photos: there is no dataset in {named or DEMO}",
        hint="run `make demo` in the checkout first (or `make demo DATA=path` with your own photos), then the cell again",
    )


def classes() -> tuple[str, ...]:
    """Return every class of the dataset, sorted."""
    return read_index(dataset_folder()).classes


def sources() -> tuple[str, str]:
    """Return the source of the easy photos and that of the hard ones: turntable and shop, where the dataset has both.

    A dataset with another single source has that one twice.
    """
    known = sorted(
        {source for batch in iterate(dataset_folder(), columns=["source"]) for source in batch[0].to_pylist()}
    )
    return ("turntable", "shop") if {"turntable", "shop"} <= set(known) else (known[0], known[-1])


def read_photos(
    split: str, source: str, *, per_class: int | None = None, only: Sequence[str] | None = None
) -> list[CoursePhoto]:
    """Read photos, sorted by class. The same arguments give the same photos.

    Args:
        split: ``train`` or ``test``.
        source: where they were taken.
        per_class: the most photos of a class; None: all.
        only: the classes to read; None: all.
    """
    wanted: dict[str, list[str]] = defaultdict(list)
    for batch in iterate(dataset_folder(), columns=["label", "source", "sha256"], splits=[split]):
        for label, place, digest in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if place == source and (only is None or label in only):
                wanted[label].append(digest)
    order = [digest for label in sorted(wanted) for digest in sorted(wanted[label])[:per_class]]
    found: dict[str, CoursePhoto] = {}
    for batch in iterate(dataset_folder(), columns=["image", "label", "sha256"], splits=[split]):
        for row in batch.filter(pc.is_in(batch["sha256"], pa.array(order, pa.string()))).to_pylist():
            image = row["image"]
            found[row["sha256"]] = CoursePhoto(image["bytes"], row["label"], source, image["path"] or "")
    return [found[digest] for digest in order]


def arrays(photos: Sequence[CoursePhoto], size: int, labels: Sequence[str]) -> tuple[Pixels, npt.NDArray[np.int32]]:
    """Decode photos as Orchard's training does.

    Args:
        photos: N photos.
        size: pixels a side of the result.
        labels: the classes in the order of the network's outputs.

    Returns:
        Pixels, uint8[N, size, size, 3], and the number of each photo's class, int32[N].
    """
    from training.model.preprocessing import decode_photos

    numbers = {label: number for number, label in enumerate(labels)}
    pixels = decode_photos([photo.body for photo in photos], size)
    return pixels, np.array([numbers[photo.label] for photo in photos], np.int32)


def hold_out_look_alikes(pixels: Pixels, labels: npt.NDArray[np.int32], share: float = 0.25) -> npt.NDArray[np.bool_]:
    """Choose validation photos: of every class one group of photos that look alike, so that no near-copy is trained.

    Args:
        pixels: uint8[N, S, S, 3].
        labels: int32[N].
        share: about this share of every class is chosen.

    Returns:
        bool[N], true for validation. A class with fewer than four photos has none.
    """
    step = pixels.shape[1] // THUMBNAIL
    side = step * THUMBNAIL
    cells = pixels[:, :side, :side].reshape(len(pixels), THUMBNAIL, step, THUMBNAIL, step, 3)
    thumbnails = cells.mean(axis=(2, 4)).reshape(len(pixels), -1)
    chosen = np.zeros(len(labels), bool)
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        if len(members) < 4:
            continue
        groups = k_means(thumbnails[members], farthest_points(thumbnails[members], 4), rounds=10)
        sizes = np.bincount(groups, minlength=4)
        best = int(np.argmin(np.abs(sizes - share * len(members))))
        chosen[members[groups == best]] = True
    return chosen


def epochs(number: int) -> int:
    """Return the number of epochs: this one, unless NOTEBOOK_EPOCHS replaces it."""
    return int(os.environ.get(SHORT, number))


def as_percent(correct: int, n: int) -> str:
    """Return a share of right predictions with its 95 % interval, as ``71 % (57 to 81) of 51``."""
    low, high = share_interval(correct, n)
    return f"{100 * correct / n:.0f} % ({100 * low:.0f} to {100 * high:.0f}) of {n}"


def show(
    pictures: Sequence[Any], titles: Sequence[str], *, columns: int = 8, size: float = 1.5, fit: bool = True
) -> None:
    """Show pictures in rows, each under its title.

    Args:
        pictures: arrays [H, W, 3] or [H, W], or Pillow pictures.
        titles: one for each.
        columns: pictures in a row.
        size: inches a side of a picture.
        fit: the greys of an array [H, W] cover its own range; otherwise 0 to 255.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    _, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * (size + 0.3)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, title in zip(axes.flat, pictures, titles, strict=False):
        axis.imshow(picture, cmap="gray", interpolation="nearest", **({} if fit else {"vmin": 0, "vmax": 255}))
        axis.set_title(title, fontsize=9)
    plt.show()


def plot_curves(runs: dict[str, dict[str, list[float]]], *, figure: str = "accuracy") -> None:
    """Plot a figure of training (solid) and validation (dashed) over the epochs, one colour a run.

    Args:
        runs: for each name, the `history` of Keras.
        figure: ``accuracy`` or ``loss``.
    """
    _, axis = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for (name, history), colour in zip(runs.items(), COLOURS, strict=False):
        steps = range(1, len(history[figure]) + 1)
        axis.plot(steps, history[figure], color=colour, marker=".", label=f"{name}: training")
        if f"val_{figure}" in history:
            axis.plot(steps, history[f"val_{figure}"], "--", color=colour, marker=".", label=f"{name}: validation")
    axis.set(xlabel="epoch", ylabel=figure)
    if figure == "accuracy":
        axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()


def plot_shares(results: dict[str, tuple[int, int]], title: str) -> None:
    """Plot shares of right predictions as bars, each with its 95 % interval.

    Args:
        results: for each name, the right predictions and the photos.
        title: what was predicted.
    """
    _, axis = plt.subplots(figsize=(7.5, 0.6 * len(results) + 1.2), layout="constrained")
    for place, (correct, n) in enumerate(results.values()):
        low, high = share_interval(correct, n)
        axis.barh(place, correct / n, color=COLOURS[place % len(COLOURS)], alpha=0.8)
        axis.plot([low, high], [place, place], color="black", linewidth=1.5)
        axis.text(1.03, place, as_percent(correct, n), va="center", fontsize=9)
    axis.set(
        yticks=range(len(results)), yticklabels=list(results), xlim=(0, 1), title=title, xlabel="share that is right"
    )
    axis.invert_yaxis()
    plt.show()
