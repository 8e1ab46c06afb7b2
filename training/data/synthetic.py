"""Synthetic photos for machines without real ones: drawn fruit on a turntable, seeded, in the form `<split>/<class>/*.jpg`.

Each class is one specimen with its own shape, colour and marks. The specimen turns on a turntable, upright
(`<frame>_100.jpg`) and lying (`r_<frame>_100.jpg`), and is photographed from all sides under changing light. As in
Fruits-360, Test is a whole arc of the rotation and Training is the rest. Synthetic photos let every program run; they
say nothing about how hard real photos are.
"""

from __future__ import annotations

import io
import json
import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from orchard.disk import writing_to
from orchard.errors import DataError

__all__ = ["MOST_CLASSES", "SyntheticFruit", "classes", "draw", "generate", "specimen"]

SIDE = 100
RECORD = "synthetic.json"
"""The file that records what was drawn. It is written last, so a folder with it is complete."""

FRAMES = 328
"""Frames of one turn, as in Fruits-360: 0 to 327."""

TEST_ARC = range(212, 294)
"""The frames of Test: one quarter of the turn."""

COLOURS = {
    "Red": (196, 32, 40),
    "Yellow": (238, 202, 58),
    "Green": (96, 158, 52),
    "Orange": (236, 128, 30),
    "Purple": (104, 44, 112),
    "Brown": (128, 86, 52),
}
SHAPES = ("Round", "Long", "Pear", "Lobed", "Flat", "Pointed")
MOST_CLASSES = len(COLOURS) * len(SHAPES)


@dataclass(frozen=True, slots=True)
class SyntheticFruit:
    """The specimen of a class.

    Attributes:
        name: the class, for example ``"Red Round"``.
        outline: radius by angle in steps of 10 degrees, 1 = the widest.
        colour: of its skin, RGB.
        blush: the colour of its sunny side, RGB.
        marks: (longitude in radians, height −1…1, size as a share of the picture's side, dark or light) of its marks.
    """

    name: str
    outline: tuple[float, ...]
    colour: tuple[int, int, int]
    blush: tuple[int, int, int]
    marks: tuple[tuple[float, float, float, bool], ...]


def classes(count: int) -> list[str]:
    """Return the names of the first `count` classes, sorted; similar ones (same colour, same shape) come early.

    Raises:
        DataError: fewer than 2 classes, or more than `MOST_CLASSES`.
    """
    if not 2 <= count <= MOST_CLASSES:
        raise DataError(f"{count} classes cannot be drawn; expected 2 to {MOST_CLASSES}")
    colours = list(COLOURS)
    names = [f"{colours[(i + i // len(SHAPES)) % len(colours)]} {SHAPES[i % len(SHAPES)]}" for i in range(count)]
    return sorted(names)


def _radius(shape: str, angle: float) -> float:
    x, y = abs(math.cos(angle)), math.sin(angle)  # y grows downwards, as in pictures
    match shape:
        case "Long":
            return 1 / math.hypot(x / 0.45, y)
        case "Pear":
            return 0.78 + 0.22 * y - 0.16 * x * (y < 0)
        case "Lobed":
            return 0.86 + 0.11 * math.cos(5 * angle)
        case "Flat":
            return 1 / math.hypot(x, y / 0.66)
        case "Pointed":
            return 0.74 + 0.26 * max(0.0, y) ** 3 + 0.1 * max(0.0, -y) ** 6
        case _:
            return 0.9


def specimen(name: str, seed: int = 0) -> SyntheticFruit:
    """Choose the specimen of a class; the same name and seed give the same one."""
    colour_name, shape = name.split(" ")
    rng = random.Random(f"{seed}/{name}")  # noqa: S311  drawing, not secrets
    outline = tuple(_radius(shape, math.radians(step)) + rng.uniform(-0.02, 0.02) for step in range(0, 360, 10))
    red, green, blue = (max(0, min(255, value + rng.randint(-14, 14))) for value in COLOURS[colour_name])
    marks = tuple(
        (rng.uniform(0, math.tau), rng.uniform(-0.7, 0.7), rng.uniform(0.02, 0.06), rng.random() < 0.6)
        for _ in range(rng.randint(8, 14))
    )
    blush = (min(255, red + 36), green * 3 // 4, blue * 3 // 4)
    return SyntheticFruit(name, outline, (red, green, blue), blush, marks)


def draw(fruit: SyntheticFruit, frame: int, *, lying: bool = False, side: int = SIDE, seed: int = 0) -> Image.Image:
    """Photograph a specimen: an RGB picture of `side` × `side` pixels on white.

    Args:
        fruit: the specimen.
        frame: the turntable's position, 0 to 327 for one turn.
        lying: whether it lies on its side and turns about its other axis.
        side: width and height in pixels.
        seed: varies light, distance and grain; the same seed and frame give the same picture.
    """
    rng = random.Random(f"{seed}/{fruit.name}/{frame}/{lying}")  # noqa: S311  drawing, not secrets
    turn = math.tau * frame / FRAMES
    reach = side * rng.uniform(0.38, 0.44)
    middle = side / 2 + rng.uniform(-2, 2) * side / SIDE
    squeeze = 1 + 0.08 * math.cos(turn)  # fruit is not equally wide from all sides
    tilt = (math.pi / 2 if lying else 0.0) + 0.1 * math.sin(turn)
    points = [_at(math.radians(10 * i), reach * r, squeeze, tilt, middle) for i, r in enumerate(fruit.outline)]
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    photo = Image.new("RGB", (side, side), fruit.colour)
    brush = ImageDraw.Draw(photo)
    for longitude, height, size, dark in (*((0.8, 0.0, 0.3, None),), *fruit.marks):
        depth = math.cos(longitude + turn)
        if depth > 0:  # on the side that faces the camera
            across = math.sin(longitude + turn) * math.sqrt(1 - height * height) * 0.8
            angle, distance = math.atan2(height, across), math.hypot(height, across)
            x, y = _at(angle, reach * distance, squeeze, tilt, middle)
            half = size * side
            colour = fruit.blush if dark is None else _scale(fruit.colour, 0.6 if dark else 1.35)
            brush.ellipse((x - half * depth, y - half, x + half * depth, y + half), fill=colour)
    shaded = ImageChops.multiply(photo, _light(side, rng.uniform(0.88, 1.0), rng.uniform(0.75, 0.95)))
    paper = Image.new("RGB", (side, side), (255, 255, 255))
    paper.paste(shaded, mask=mask)
    return paper


def _at(angle: float, radius: float, squeeze: float, tilt: float, middle: float) -> tuple[float, float]:
    x, y = radius * math.cos(angle) * squeeze, radius * math.sin(angle)
    return (
        middle + x * math.cos(tilt) - y * math.sin(tilt),
        middle + x * math.sin(tilt) + y * math.cos(tilt),
    )


def _scale(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def _light(side: int, brightest: float, fall: float) -> Image.Image:
    """Make a mask of light from the upper left: bright there, darker towards the rim."""
    gradient = (
        Image.radial_gradient("L")
        .resize((side * 2, side * 2))
        .crop((side * 3 // 4, side * 3 // 4, side * 7 // 4, side * 7 // 4))
    )
    return gradient.point([round(255 * brightest * (1 - fall * value / 255)) for value in range(256)]).convert("RGB")


def _views(photos: int) -> Iterator[tuple[int, bool]]:
    """Spread `photos` over the two axes and once around."""
    standing = photos - photos // 2
    for lying, number in ((False, standing), (True, photos - standing)):
        yield from ((index * FRAMES // number, lying) for index in range(number))


def generate(folder: Path, *, count: int, photos: int, seed: int) -> dict[str, dict[str, int]]:
    """Draw a folder of synthetic photos atomically.

    Args:
        folder: the folder; it must be new, empty, or hold exactly these photos already.
        count: the number of classes.
        photos: the number of photos in all; every class gets the same number.
        seed: the same seed gives the same bytes.

    Returns:
        The number of photos by split (``"Training"``, ``"Test"``) and class.

    Raises:
        DataError: the folder holds other files, or the numbers are out of range.
    """
    names = classes(count)
    each = photos // count
    if not 8 <= each <= 2 * FRAMES:
        raise DataError(
            f"{photos} photos make {each} for each of {count} classes; expected 8 to {2 * FRAMES}",
            hint=f"set --photos between {8 * count} and {2 * FRAMES * count}",
        )
    options = {"classes": count, "photos": photos, "seed": seed}
    if (record := _read_record(folder)) is not None:
        if record["made"] == options:
            counts: dict[str, dict[str, int]] = record["counts"]
            return counts
        raise DataError(
            f"{folder} holds other photos: {record['made']}", hint="choose another folder, or delete this one"
        )
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty", hint="choose a new folder; existing files are never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    drawn = {split: dict.fromkeys(names, 0) for split in ("Training", "Test")}
    with writing_to(folder.parent):
        for name in names:
            _draw_class(draft, specimen(name, seed), each, seed, drawn)
        (draft / RECORD).write_text(json.dumps({"made": options, "counts": drawn}, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder)
    return drawn


def _read_record(folder: Path) -> Any:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _draw_class(folder: Path, fruit: SyntheticFruit, photos: int, seed: int, counts: dict[str, dict[str, int]]) -> None:
    for split in counts:
        (folder / split / fruit.name).mkdir(parents=True)
    for frame, lying in _views(photos):
        split = "Test" if frame in TEST_ARC else "Training"
        target = folder / split / fruit.name / f"{'r_' if lying else ''}{frame}_100.jpg"
        target.write_bytes(_jpeg(draw(fruit, frame, lying=lying, seed=seed)))
        counts[split][fruit.name] += 1


def _jpeg(photo: Image.Image) -> bytes:
    body = io.BytesIO()
    photo.save(body, "JPEG", quality=90)
    return body.getvalue()
