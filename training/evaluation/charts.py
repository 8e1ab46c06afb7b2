"""Charts for the pages: numbers to coordinates; the templates make SVG of them."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard.errors import DataError

__all__ = ["DRAWN_CLASSES", "Cell", "HeatMap", "Line", "Panel", "calibration_bars", "draw_curves", "heat_map"]

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 30
TITLES = {"loss": "Loss", "accuracy": "Accuracy"}
DRAWN = ("accuracy", "loss")
"""The columns that are drawn; other columns (learning rate, seconds) are only in the file."""

DRAWN_CLASSES = 60
"""The most classes of a confusion matrix that a person can read."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name, its points as SVG writes them, the last point and the last value."""

    name: str
    points: str
    last: tuple[float, float]
    value: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of `WIDTH` × `HEIGHT`: lines, and (position, text) of the ticks of both axes."""

    title: str
    lines: tuple[Line, ...]
    rows: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def _step(span: float, ticks: int) -> float:
    """The round number (1, 2 or 5 times a power of ten) that divides `span` into at most `ticks` parts."""
    rough = span / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _ticks(low: float, high: float, ticks: int = 5) -> list[float]:
    step = _step(high - low, ticks)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _read_curves(path: Path) -> tuple[list[str], list[list[float]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file))
        return header, [[float(cell) for cell in row] for row in rows]
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a valid table of training curves: {error}", hint="`orchard train` writes it"
        ) from error


def _panel(name: str, epochs: Sequence[float], series: dict[str, list[float]]) -> Panel | None:
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = (min(finite), 1.0) if name == "accuracy" else (0.0, max(finite))
    if high - low < 1e-3:
        low, high = low - 1e-3, high + 1e-3
    first, last = min(epochs), max(epochs)
    breadth, rise = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(epoch: float) -> float:
        return round(LEFT + breadth * ((epoch - first) / (last - first) if last > first else 0.5), 1)

    def y_of(value: float) -> float:
        return round(TOP + rise * (high - value) / (high - low), 1)

    lines = []
    for label, values in series.items():
        dots = [(x_of(e), y_of(v), v) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)]
        if dots:
            points = " ".join(f"{x},{y}" for x, y, _ in dots)
            lines.append(Line(label, points, (dots[-1][0], dots[-1][1]), dots[-1][2]))
    rows = tuple((y_of(tick), f"{tick:.6g}") for tick in _ticks(low, high))
    whole = sorted({round(tick) for tick in _ticks(first, last, 8)} if last > first else {round(first)})
    return Panel(TITLES[name], tuple(lines), rows, tuple((x_of(e), str(e)) for e in whole if first <= e <= last))


def draw_curves(path: Path) -> list[Panel]:
    """Draw a training's ``curves.csv``: one panel for accuracy and one for loss, training and validation in each.

    Raises:
        DataError: the file is missing or is not a table of numbers.
    """
    header, rows = _read_curves(path)
    if not rows or len({len(row) for row in rows} | {len(header)}) != 1:
        raise DataError(f"{path} has no epochs, or rows of unequal length", hint="`orchard train` writes it")
    table = {name: [row[index] for row in rows] for index, name in enumerate(header)}
    epochs = table.get("epoch") or [float(index + 1) for index in range(len(rows))]
    panels = []
    for name in DRAWN:
        pair = {"training": table.get(name), "validation": table.get(f"val_{name}")}
        panel = _panel(name, epochs, {label: values for label, values in pair.items() if values})
        if panel:
            panels.append(panel)
    return panels


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair of truth and guess that occurred: its place, its count, the strength of its colour (0 to 1)."""

    row: int
    column: int
    n: int
    strength: float
    title: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A confusion matrix as squares of `side` pixels, with `margin` pixels for the labels left and above.

    `right` and `wrong` count all photos; `left_out` classes and `unseen` mistakes are not drawn.
    """

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    side: int
    margin: int
    right: int
    wrong: int
    left_out: int
    unseen: int

    @property
    def extent(self) -> int:
        """Width and height of all squares together."""
        return self.side * len(self.labels)


def heat_map(labels: Sequence[str], pairs: Sequence[Sequence[int]]) -> HeatMap:
    """Lay out a confusion matrix. Of more than `DRAWN_CLASSES` classes, those of the most frequent mistakes are drawn.

    Args:
        labels: C class names.
        pairs: (truth, guess, photos) of the pairs that occurred, as positions in `labels`.
    """
    drawn = _most_confused(len(labels), pairs)
    place = {position: index for index, position in enumerate(drawn)}
    totals = Counter[int]()
    for row, _, n in pairs:
        totals[row] += n
    cells = []
    for row, column, n in pairs:
        if row in place and column in place:
            count = f"{n} of {totals[row]} {labels[row]}"
            title = f"{count}: right" if row == column else f"{count} taken for {labels[column]}"
            # the root makes a single miss among hundreds visible
            cells.append(Cell(place[row], place[column], n, round(max(0.12, math.sqrt(n / totals[row])), 3), title))
    names = tuple(labels[position] for position in drawn)
    side = 44 if len(names) <= 8 else 22 if len(names) <= 40 else 16
    right = sum(n for row, column, n in pairs if row == column)
    wrong, shown = totals.total() - right, sum(cell.n for cell in cells if cell.row != cell.column)
    margin = max(104, 16 + round(6.2 * max(map(len, names), default=0)))  # the corner has a legend
    return HeatMap(names, tuple(cells), side, margin, right, wrong, len(labels) - len(names), wrong - shown)


def _most_confused(classes: int, pairs: Sequence[Sequence[int]]) -> list[int]:
    """The classes to draw, in their order: all, or those of the most frequent mistakes."""
    if classes <= DRAWN_CLASSES:
        return list(range(classes))
    mistakes = sorted((-n, row, column) for row, column, n in pairs if row != column)
    named = dict.fromkeys(position for _, row, column in mistakes for position in (row, column))
    return sorted([*named, *(position for position in range(classes) if position not in named)][:DRAWN_CLASSES])


def calibration_bars(bins: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lay out a calibration plot of 100 × 100 units: for each bin with photos a bar, its confidence and its share."""
    total = sum(item["n"] for item in bins) or 1
    return [
        {
            "x": round(item["low"] * 100, 1),
            "width": round((item["high"] - item["low"]) * 100, 1),
            "height": round(item["accuracy"] * 100, 2),
            "promise": round(item["confidence"] * 100, 2),
            "share": item["n"] / total,
            **item,
        }
        for item in bins
        if item["n"]
    ]
