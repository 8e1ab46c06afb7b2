"""Training photos varied: turned, mirrored, nearer, aside, in other light. Whole batches at a time, in the graph.

Every photo of a batch gets its own variation, and the variations follow from a seed and nothing else: the same seed
gives the same pixels, on one thread or many. Validation, evaluation and serving never come here.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from training.params import Augmentation

__all__ = ["BACKGROUND", "augment"]

BACKGROUND = 255.0
"""What appears where a photo is moved away from: the white of the turntable photos."""


def augment(images: Any, seed: Any, how: Augmentation) -> Any:
    """Vary a batch.

    Args:
        images: float32 tensor [N, S, S, 3], 0 to 255.
        seed: int32 tensor [2]; another seed is another variation.
        how: how far.

    Returns:
        float32 tensor [N, S, S, 3], 0 to 255.
    """
    seeds = tf.random.split(seed, 2)
    return _shed_light(_move(images, seeds[0], how), seeds[1], how)


def _move(images: Any, seed: Any, how: Augmentation) -> Any:
    """Turn, mirror, scale and shift, all in one interpolation."""
    size = images.shape[1]
    turn, scale, mirror, flip, right, down = tf.unstack(_draw(6, images, seed))
    zoom = 1 / (1 + how.scale * scale)
    cosine = tf.cos(turn * math.radians(how.rotation)) * zoom
    sine = tf.sin(turn * math.radians(how.rotation)) * zoom
    across = tf.sign(mirror) if how.flip else tf.ones_like(mirror)
    along = tf.sign(flip) if how.flip else tf.ones_like(flip)
    a, b, d, e = cosine * across, -sine * along, sine * across, cosine * along
    centre = (size - 1) / 2
    c = centre * (1 - a - b) + right * how.shift * size
    f = centre * (1 - d - e) + down * how.shift * size
    nothing = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, nothing, nothing], axis=1),
        output_shape=[size, size],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=BACKGROUND,
    )


def _shed_light(images: Any, seed: Any, how: Augmentation) -> Any:
    """Change brightness, the balance of the colours and their saturation."""
    bright, red, green, blue, vivid = tf.unstack(_draw(5, images, seed))
    balance = 1 + how.colour * tf.stack([red, green, blue], axis=1)
    lit = images * ((1 + how.brightness * bright)[:, tf.newaxis] * balance)[:, tf.newaxis, tf.newaxis]
    grey = tf.reduce_mean(lit, axis=3, keepdims=True)
    vivid = (1 + how.saturation * vivid)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.clip_by_value(grey + (lit - grey) * vivid, 0, 255)


def _draw(kinds: int, images: Any, seed: Any) -> Any:
    """Draw numbers from -1 to 1: float32 tensor [kinds, N]."""
    return tf.random.stateless_uniform([kinds, tf.shape(images)[0]], seed, -1, 1)
