"""SavedModels that mix the rows of a batch, each in its own way, and others that keep them apart; none has golden photos.

`python -m tests.serving.batching_models FOLDER` creates them with TensorFlow at `FOLDER/<name>/1/`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLOATS, WORDS, NUMBERS = "floats", "words", "numbers"
# fmt: off
MIXING = (
    "softmax", "softmax_axis", "mean", "mean_of_all", "huge", "not_a_number", "sort", "rank", "cumsum", "reverse", "roll",
    "top", "argmax", "first", "size", "large", "place", "products", "crossed", "unique", "segments", "batch_norm", "dropout",
    "random", "seeded", "counter", "admin", "looked_up",
)
APART = (
    "affine", "dense", "normalised", "flattened", "sized", "labelled", "filled", "embedded", "upper", "einsum",
)
# fmt: on


def mixing(tf: Any) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """Functions whose result for a row depends on other rows, some of them for rare values only."""
    total = tf.Variable(0.0)

    def count(x: Any) -> Any:
        total.assign_add(1.0)
        return x + total

    def normalise(x: Any) -> Any:
        channels = tf.reshape(x, [-1, 1, 1, 4])
        result = tf.raw_ops.FusedBatchNormV3(
            x=channels, scale=tf.ones(4), offset=tf.zeros(4), mean=tf.zeros(0), variance=tf.zeros(0), is_training=True
        )
        return tf.reshape(result.y, [-1, 4])

    def segments(x: Any) -> Any:
        one = tf.cast(x[:, 0], tf.int32) * 0
        return tf.gather(tf.math.unsorted_segment_sum(x, one, 1), one)

    return {
        "softmax": (FLOATS, lambda x: tf.nn.softmax(x[:, 0])),
        "softmax_axis": (FLOATS, lambda x: tf.nn.softmax(x, axis=0)),
        "mean": (FLOATS, lambda x: x - tf.reduce_mean(x, axis=0)),
        "mean_of_all": (FLOATS, lambda x: x - tf.reduce_mean(x)),
        "huge": (FLOATS, lambda x: tf.where(tf.reduce_any(x > 1e6), tf.zeros_like(x), x)),
        "not_a_number": (FLOATS, lambda x: tf.where(tf.reduce_any(tf.math.is_nan(x)), -x, x)),
        "sort": (FLOATS, lambda x: tf.sort(x, axis=0)),
        "rank": (FLOATS, lambda x: tf.argsort(x[:, 0])),
        "cumsum": (FLOATS, lambda x: tf.cumsum(x)),
        "reverse": (FLOATS, lambda x: tf.reverse(x, [0])),
        "roll": (FLOATS, lambda x: tf.roll(x, 1, 0)),
        "top": (FLOATS, lambda x: tf.cast(tf.math.top_k(x[:, 0], tf.shape(x)[0]).indices, tf.float32)),
        "argmax": (FLOATS, lambda x: x + tf.cast(tf.argmax(x), tf.float32)),
        "first": (FLOATS, lambda x: x - x[:1]),
        "size": (FLOATS, lambda x: x * tf.cast(tf.shape(x)[0], tf.float32)),
        "large": (FLOATS, lambda x: tf.cond(tf.shape(x)[0] > 20, lambda: x + 1, lambda: x)),
        "place": (FLOATS, lambda x: x + tf.cast(tf.range(tf.shape(x)[0]), tf.float32)[:, tf.newaxis]),
        "products": (FLOATS, lambda x: tf.matmul(tf.matmul(x, x, transpose_b=True), x)),
        "crossed": (FLOATS, lambda x: tf.reshape(tf.transpose(x), tf.shape(x))),
        "unique": (NUMBERS, lambda x: tf.unique(tf.reshape(x, [-1])).idx[: tf.shape(x)[0]]),
        "segments": (FLOATS, segments),
        "batch_norm": (FLOATS, normalise),
        "dropout": (FLOATS, lambda x: tf.nn.dropout(x, 0.5)),
        "random": (FLOATS, lambda x: x + tf.random.normal([4])),
        "seeded": (FLOATS, lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2])),
        "counter": (FLOATS, count),
        "admin": (WORDS, lambda x: tf.where(tf.reduce_any(x == "admin"), "yes", x)),
        "looked_up": (FLOATS, lambda x: x + tf.gather([float(n) for n in range(99)], tf.math.top_k(tf.shape(x), 2).indices[0])),
    }  # fmt: skip


def apart(tf: Any) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """Functions whose result for a row depends on this row alone, as the graph shows."""
    weights = tf.Variable(tf.random.stateless_normal([4, 3], [1, 2]))
    words = tf.constant(["apple", "pear", "plum"])
    table = tf.random.stateless_normal([8, 5], [3, 4])
    return {
        "affine": (FLOATS, lambda x: 2 * x + 1),
        "dense": (FLOATS, lambda x: tf.nn.softmax(tf.matmul(x, weights))),
        "normalised": (FLOATS, lambda x: x - tf.reduce_mean(x, axis=1, keepdims=True)),
        "flattened": (FLOATS, lambda x: tf.reshape(x[:, :, tf.newaxis] * [1.0, 2.0], [-1, 8])),
        "sized": (FLOATS, lambda x: tf.reshape(tf.reshape(x, [tf.shape(x)[0], 2, 2])[:, 0], [-1, 2])),
        "labelled": (FLOATS, lambda x: tf.gather(words, tf.argmax(tf.matmul(x, weights), axis=1))),
        "filled": (FLOATS, lambda x: tf.concat([x, tf.fill([tf.shape(x)[0], 1], 7.0)], axis=1)),
        "embedded": (NUMBERS, lambda x: tf.reduce_sum(tf.gather(table, x), axis=1)),
        "upper": (WORDS, lambda x: tf.strings.upper(x)),
        "einsum": (FLOATS, lambda x: tf.einsum("bi,ij->bj", x, weights)),
    }


def make(folder: Path) -> None:
    """Create all models."""
    import tensorflow as tf

    specs = {
        FLOATS: tf.TensorSpec([None, 4], tf.float32, "x"),
        NUMBERS: tf.TensorSpec([None, 4], tf.int32, "x"),
        WORDS: tf.TensorSpec([None], tf.string, "x"),
    }
    assert (tuple(mixing(tf)), tuple(apart(tf))) == (MIXING, APART)
    mapped = FLOATS, lambda x: tf.map_fn(lambda row: row * 2, x)
    for name, (kind, function) in {**mixing(tf), **apart(tf), "mapped": mapped}.items():
        _save(tf, folder / name / "1", function, specs[kind])


def _save(tf: Any, folder: Path, function: Callable[[Any], Any], spec: Any) -> None:
    module = tf.Module()
    module.kept = [cell.cell_contents for cell in function.__closure__ or () if _is_variable(tf, cell.cell_contents)]
    module.f = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.f.get_concrete_function())


def _is_variable(tf: Any, value: Any) -> bool:
    return isinstance(value, tf.Variable)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
