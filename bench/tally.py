"""The measurements of a load client: latencies, and answers that are checked after the measured time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

__all__ = ["TOLERANCE", "WARM_S", "Read", "Tally"]

WARM_S = 1.0
TOLERANCE = 1e-4

Read = Callable[[Any], tuple[str, float]]


class Tally:
    """Latencies and answers of the measured time.

    Args:
        photos: each with ``b64`` to send and the expected ``label`` and ``probability``.
        seconds: measured time, after `WARM_S` seconds of warm-up.
    """

    def __init__(self, photos: list[dict[str, Any]], seconds: float) -> None:
        self.photos = photos
        self.begin = time.perf_counter() + WARM_S
        self.end = self.begin + seconds
        self.seconds = seconds
        self.latencies: list[float] = []
        self.answers: list[tuple[int, Any]] = []

    def add(self, index: int, sent: float, answer: Any) -> bool:
        """Add an answer; returns whether there is time for another request."""
        now = time.perf_counter()
        if sent >= self.begin:
            self.latencies.append(now - sent)
            self.answers.append((index, answer))
        return now < self.end

    def report(self, read: Read) -> dict[str, Any]:
        """Check every answer, after the measured time."""
        wrong = 0
        for index, answer in self.answers:
            label, probability = read(answer)
            photo = self.photos[index]
            wrong += label != photo["label"] or not abs(probability - photo["probability"]) <= TOLERANCE
        latencies = sorted(self.latencies) or [math.nan]
        return {
            "rate": len(self.latencies) / self.seconds,
            "p50": latencies[len(latencies) // 2] * 1e3,
            "p99": latencies[int(len(latencies) * 0.99)] * 1e3,
            "longest": latencies[-1] * 1e3,
            "wrong": wrong,
        }
