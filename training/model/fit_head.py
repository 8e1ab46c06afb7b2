"""The linear probe: a logistic regression on the features of a pretrained network, as the network's last layer.

It takes a pass over the photos instead of epochs, and is where training all layers starts: from a random last layer,
their first steps would damage features that are good already (arXiv:2202.10054). After it, a head may be fitted again to the
features that came of it, all at the size that is served (arXiv:1906.06423).
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from orchard.reporter import Reporter
from training.model.augmentation import augment
from training.model.feed import BatchIterator
from training.model.heads import find_head
from training.model.linear_probe import fit_logistic
from training.params import Params

__all__ = ["ProbeFigures", "fit_probe"]


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """The mean loss of a probe, the share of its photos that is right, and their number."""

    loss: float
    accuracy: float
    photos: int


def fit_probe(
    model: keras.Model, feed: BatchIterator, classes: int, params: Params, reporter: Reporter
) -> ProbeFigures:
    """Fit the last layer of a network and set its weights; no other layer changes.

    Args:
        model: from float32[N, S, S, 3] with 0 to 255 to probabilities, float32[N, C].
        feed: gives the photos: those of one epoch.
        classes: C.
        params: how the photos are varied, how often, and how strong the regression is regularised.
        reporter: reports progress.

    Returns:
        Its figures on the sample, copies included.
    """
    head = find_head(model)
    embed = tf.function(keras.Model(model.input, head.features), reduce_retracing=True)
    batches = feed.batches(0)
    copies = params.train.probe.copies
    plan = [(copy, step, positions) for copy in range(copies + 1) for step, positions in enumerate(batches)]
    features, labels = [], []
    for copy, step, positions in reporter.track(plan, "computing features"):
        pixels, truth = feed.take(positions, params.model.image_size)
        images = tf.cast(pixels, tf.float32)
        if copy:
            seed = tf.constant([params.train.seed, -(copy * len(batches) + step)], tf.int32)
            still = params.train.augmentation.model_copy(update={"patch": 0.0})
            images, _ = augment(images, tf.one_hot(truth, classes), seed, still)
        features.append(embed(images, training=False).numpy())
        labels.append(truth.numpy())
    table, truths = np.concatenate(features), np.concatenate(labels)
    with reporter.status(f"fitting a linear classifier to {len(truths)} photos"):
        kernel, bias = fit_logistic(table, truths, classes, params.train.probe.strength)
    head.dense.set_weights([kernel, bias] if head.dense.use_bias else [kernel])
    logits = table @ kernel + bias
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(truths, logits)
    return ProbeFigures(float(np.mean(losses)), float(np.mean(logits.argmax(axis=1) == truths)), len(truths))
