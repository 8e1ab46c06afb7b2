"""Sets of photos that are not fruit, drawn for tests: one that has an orientation, and one that differs by a fine texture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

__all__ = ["SETS", "fill"]

SIDE = 100
ARROW = ((0, -1), (0.6, -0.2), (0.22, -0.2), (0.22, 1), (-0.22, 1), (-0.22, -0.2), (-0.6, -0.2))
"""An arrow that points up, from -1 to 1."""

DIRECTIONS = {"up": 0, "right": 90, "down": 180, "left": 270}
WAVES = {"across": (0, 1), "along": (1, 0), "rising": (0.71, 0.71), "falling": (0.71, -0.71)}
"""The direction in which each texture changes: its lines are at a right angle to it."""

Draw = Callable[[str, np.random.Generator], Image.Image]


def _colours(random: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two colours that can be told apart: one dark and one light, in any order."""
    dark, light = random.uniform(0, 100, 3), random.uniform(150, 255, 3)
    return (dark, light) if random.random() < 0.5 else (light, dark)


def _noisy(pixels: npt.NDArray[np.float64], random: np.random.Generator) -> Image.Image:
    noise = random.normal(0, 8, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _arrow(label: str, random: np.random.Generator) -> Image.Image:
    behind, front = _colours(random)
    picture = Image.new("RGB", (SIDE, SIDE), tuple(int(value) for value in behind))
    angle = np.radians(DIRECTIONS[label] + random.uniform(-10, 10))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.array(ARROW) @ turn.T * random.uniform(22, 38) + SIDE / 2 + random.uniform(-10, 10, 2)
    ImageDraw.Draw(picture).polygon([tuple(point) for point in points], tuple(int(value) for value in front))
    return _noisy(np.asarray(picture, np.float64), random)


def _texture(label: str, random: np.random.Generator) -> Image.Image:
    dark, light = _colours(random)
    down, right = np.mgrid[:SIDE, :SIDE]
    along, across = WAVES[label]
    phase = 2 * np.pi * ((right * along + down * across) / random.uniform(5, 8) + random.random())
    share = (0.5 + 0.5 * np.sin(phase))[..., np.newaxis]
    return _noisy(dark + share * (light - dark), random)


SETS: dict[str, tuple[Draw, tuple[str, ...]]] = {
    "arrows": (_arrow, tuple(DIRECTIONS)),
    "textures": (_texture, tuple(WAVES)),
}
"""The sets: what draws a photo of a class, and the classes."""


def fill(folder: Path, name: str, photos: int) -> Path:
    """Fill `folder` with ``<class>/<number>.jpg``: so many photos of each class of a set, always the same."""
    draw, labels = SETS[name]
    for place, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(photos):
            draw(label, np.random.default_rng([place, number])).save(folder / label / f"{number}.jpg", quality=90)
    return folder
