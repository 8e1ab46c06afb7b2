"""Augmentation of a batch of training photos: rotation, flip, zoom, shift, background, light and CutMix.

Colours are changed by a gain and a curve of each channel, as another light or camera does; hues are not exchanged, because
the colour tells fruit apart.

Every photo of a batch gets its own variation. The variations depend on a seed only: the same seed gives the same pixels,
on one thread or many. Validation, evaluation and serving do not use this module.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from training.params import AugmentationParams

__all__ = ["BACKGROUND", "augment"]

BACKGROUND = 255.0
"""Fills what a moved photo uncovers: the white of the turntable photos."""

BACKDROP = (215.0, 245.0)
"""A pixel whose lowest channel is below the first value is not background; above the second it is background; between
them it is partly background."""

TINT = 0.2
"""By how much each channel of another background may differ from its grey, as a share of it, up or down."""

PATCH_AREAS = (0.2, 0.8)
"""The smallest and the largest patch, as a share of the image. The part of a patch outside the image is lost."""


def augment(images: Any, targets: Any, seed: Any, params: AugmentationParams) -> tuple[Any, Any]:
    """Vary a batch.

    Args:
        images: float32 tensor [N, S, S, 3], 0 to 255.
        targets: float32 tensor [N, C], the target probabilities: 1 for one class.
        seed: int32 tensor [2]; another seed gives another variation.
        params: the ranges of the variations.

    Returns:
        The varied images and their targets; an image with a patch of another one has a share of its target.
    """
    seeds = tf.random.split(seed, 4)
    moved = _move(images, seeds[0], params)
    placed = _replace_background(moved, seeds[3], params) if params.background or params.paste else moved
    varied = _change_light(placed, seeds[1], params)
    return _mix_patches(varied, targets, seeds[2], params) if params.patch else (varied, targets)


def _move(images: Any, seed: Any, params: AugmentationParams) -> Any:
    """Turn, mirror, zoom and shift, all in one interpolation."""
    size = images.shape[1]
    turn, near, mirror, flip, right, down = tf.unstack(_draw(6, images, seed))
    farthest, nearest = math.log(params.zoom_out), -math.log(params.zoom_in)
    step = tf.exp(farthest + (nearest - farthest) * (near + 1) / 2)  # from pixel to pixel, in pixels of the photo
    cosine = tf.cos(turn * math.radians(params.rotation)) * step
    sine = tf.sin(turn * math.radians(params.rotation)) * step
    across = tf.sign(mirror) if params.flip else tf.ones_like(mirror)
    along = tf.sign(flip) if params.flip else tf.ones_like(flip)
    a, b, d, e = cosine * across, -sine * along, sine * across, cosine * along
    centre = (size - 1) / 2
    c = centre * (1 - a - b) + right * params.shift * size
    f = centre * (1 - d - e) + down * params.shift * size
    nothing = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, nothing, nothing], axis=1),
        output_shape=[size, size],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=BACKGROUND,
    )


def _replace_background(images: Any, seed: Any, params: AugmentationParams) -> Any:
    """Put other photos in front of a plain colour, or of another photo of the batch, where they are nearly white.

    The colour is a tinted grey from black to white.
    """
    chance, grey, red, green, blue = tf.unstack(_draw(5, images, seed))
    tint = 1 + TINT * tf.stack([red, green, blue], axis=1)
    colour = ((127.5 * (1 + grey))[:, tf.newaxis] * tint)[:, tf.newaxis, tf.newaxis]
    chance = (chance + 1) / 2
    chosen = tf.cast(chance < params.background + params.paste, tf.float32)
    if params.paste:
        # not the next photo: a patch may come from that
        pasted = (chance >= params.background)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        colour = tf.where(pasted, tf.roll(images, 2, axis=0), colour)
    below, above = BACKDROP
    least = tf.minimum(tf.minimum(images[..., :1], images[..., 1:2]), images[..., 2:])  # faster than tf.reduce_min
    white = tf.clip_by_value((least - below) / (above - below), 0, 1)
    share = white * chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return images + share * (colour - images)


def _change_light(images: Any, seed: Any, params: AugmentationParams) -> Any:
    """Change brightness, colour balance and the curve of each channel."""
    bright, red, green, blue = tf.unstack(_draw(4, images, seed))
    balance = 1 + params.colour * tf.stack([red, green, blue], axis=1)
    light = (1 + params.brightness * bright)[:, tf.newaxis] * balance
    lit = tf.clip_by_value(images * light[:, tf.newaxis, tf.newaxis], 0, 255)
    if not params.gamma:
        return lit
    curves = tf.stack(tf.unstack(_draw(3, images, tf.random.fold_in(seed, 1))), axis=1)
    exponents = tf.exp(math.log(1 + params.gamma) * curves)[:, tf.newaxis, tf.newaxis]
    return 255 * tf.pow(lit / 255, exponents)


def _mix_patches(images: Any, targets: Any, seed: Any, params: AugmentationParams) -> tuple[Any, Any]:
    """Put a square piece of the next image of the batch onto some images, and mix the targets by its share (CutMix)."""
    size = images.shape[1]
    area, across, down, chance = tf.unstack((_draw(4, images, seed) + 1) / 2)
    smallest, largest = PATCH_AREAS
    half = tf.sqrt(smallest + (largest - smallest) * area) * size / 2
    half = tf.where(chance < params.patch, half, 0)[:, tf.newaxis]
    line = tf.range(size, dtype=tf.float32)[tf.newaxis]
    columns = tf.abs(line - across[:, tf.newaxis] * size) < half
    rows = tf.abs(line - down[:, tf.newaxis] * size) < half
    mask = rows[:, :, tf.newaxis] & columns[:, tf.newaxis]
    share = tf.reduce_mean(tf.cast(mask, tf.float32), axis=[1, 2])[:, tf.newaxis]
    patched = tf.where(mask[..., tf.newaxis], tf.roll(images, 1, axis=0), images)
    return patched, targets * (1 - share) + tf.roll(targets, 1, axis=0) * share


def _draw(kinds: int, images: Any, seed: Any) -> Any:
    """Draw numbers from -1 to 1: float32 tensor [kinds, N]."""
    return tf.random.stateless_uniform([kinds, tf.shape(images)[0]], seed, -1, 1)
