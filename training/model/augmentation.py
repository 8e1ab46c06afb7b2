"""Training photos varied: turned, mirrored, nearer, aside, before another colour, in other light; a batch at a time.

Every photo of a batch gets its own variation, and the variations follow from a seed and nothing else: the same seed
gives the same pixels, on one thread or many. Validation, evaluation and serving never come here.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from training.params import AugmentationParams

__all__ = ["BACKGROUND", "augment"]

BACKGROUND = 255.0
"""What appears where a photo is moved away from: the white of the turntable photos."""

BACKDROP = (215.0, 245.0)
"""A pixel whose least colour is below the one is no background, above the other nothing else; between, it is partly."""

TINT = 0.2
"""How far each colour of another background may be from its grey, either way, as a share of it."""

PATCH_AREAS = (0.2, 0.8)
"""The smallest and the largest patch, as a share of the image; what of it falls outside is lost."""


def augment(images: Any, wanted: Any, seed: Any, how: AugmentationParams) -> tuple[Any, Any]:
    """Vary a batch.

    Args:
        images: float32 tensor [N, S, S, 3], 0 to 255.
        wanted: float32 tensor [N, C], the probabilities that are right: 1 for one class.
        seed: int32 tensor [2]; another seed is another variation.
        how: how far.

    Returns:
        The images, varied, and what is right for them: for an image with a patch of another, its share.
    """
    seeds = tf.random.split(seed, 4)
    moved = _move(images, seeds[0], how)
    placed = _place(moved, seeds[3], how) if how.background else moved
    varied = _shed_light(placed, seeds[1], how)
    return _patch(varied, wanted, seeds[2], how) if how.patch else (varied, wanted)


def _move(images: Any, seed: Any, how: AugmentationParams) -> Any:
    """Turn, mirror, zoom and shift, all in one interpolation."""
    size = images.shape[1]
    turn, near, mirror, flip, right, down = tf.unstack(_draw(6, images, seed))
    farthest, nearest = math.log(how.zoom_out), -math.log(how.zoom_in)
    step = tf.exp(farthest + (nearest - farthest) * (near + 1) / 2)  # from pixel to pixel, in pixels of the photo
    cosine = tf.cos(turn * math.radians(how.rotation)) * step
    sine = tf.sin(turn * math.radians(how.rotation)) * step
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


def _place(images: Any, seed: Any, how: AugmentationParams) -> Any:
    """Put some photos before another plain colour, a tinted grey from black to white, where they are nearly white."""
    chance, grey, red, green, blue = tf.unstack(_draw(5, images, seed))
    tint = 1 + TINT * tf.stack([red, green, blue], axis=1)
    colour = (127.5 * (1 + grey))[:, tf.newaxis] * tint
    chosen = tf.cast((chance + 1) / 2 < how.background, tf.float32)
    below, above = BACKDROP
    least = tf.minimum(tf.minimum(images[..., :1], images[..., 1:2]), images[..., 2:])  # faster than tf.reduce_min
    white = tf.clip_by_value((least - below) / (above - below), 0, 1)
    share = white * chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return images + share * (colour[:, tf.newaxis, tf.newaxis] - images)


def _shed_light(images: Any, seed: Any, how: AugmentationParams) -> Any:
    """Change brightness and the balance of the colours."""
    bright, red, green, blue = tf.unstack(_draw(4, images, seed))
    balance = 1 + how.colour * tf.stack([red, green, blue], axis=1)
    light = (1 + how.brightness * bright)[:, tf.newaxis] * balance
    return tf.clip_by_value(images * light[:, tf.newaxis, tf.newaxis], 0, 255)


def _patch(images: Any, wanted: Any, seed: Any, how: AugmentationParams) -> tuple[Any, Any]:
    """Put a square piece of the next image of the batch onto some images, and its share of the label (CutMix)."""
    size = images.shape[1]
    area, across, down, chance = tf.unstack((_draw(4, images, seed) + 1) / 2)
    smallest, largest = PATCH_AREAS
    half = tf.sqrt(smallest + (largest - smallest) * area) * size / 2
    half = tf.where(chance < how.patch, half, 0)[:, tf.newaxis]
    line = tf.range(size, dtype=tf.float32)[tf.newaxis]
    columns = tf.abs(line - across[:, tf.newaxis] * size) < half
    rows = tf.abs(line - down[:, tf.newaxis] * size) < half
    mask = rows[:, :, tf.newaxis] & columns[:, tf.newaxis]
    share = tf.reduce_mean(tf.cast(mask, tf.float32), axis=[1, 2])[:, tf.newaxis]
    patched = tf.where(mask[..., tf.newaxis], tf.roll(images, 1, axis=0), images)
    return patched, wanted * (1 - share) + tf.roll(wanted, 1, axis=0) * share


def _draw(kinds: int, images: Any, seed: Any) -> Any:
    """Draw numbers from -1 to 1: float32 tensor [kinds, N]."""
    return tf.random.stateless_uniform([kinds, tf.shape(images)[0]], seed, -1, 1)
