"""Counters, gauges and histograms in the text formats of Prometheus and OpenMetrics.

Metrics that TF Serving has too have the same names, labels and buckets, so that dashboards and alerts made for it work.
The names of all others begin with ``orchard_serving_``. In OpenMetrics, each latency bucket carries the id of the last
request that fell into it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_EXEMPLAR = re.compile(r'[^"\\\n]{1,118}')
"""OpenMetrics limits the label of an exemplar to 128 characters, with its name `request_id`; not every parser reads escapes in it."""

__all__ = ["LATENCY_BUCKETS", "Counter", "Gauge", "Histogram", "MetricsRegistry"]

LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
"""TF Serving's buckets: 33 bounds in microseconds, from 10, each 1.8 times the one before."""

Labels = tuple[str, ...]


def _escape(value: str) -> str:
    value = value.encode("utf-8", "backslashreplace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


class _Metric:
    kind = ""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)
        self.lock = threading.Lock()

    def braces(self, values: Labels, *more: tuple[str, str]) -> str:
        pairs = [*zip(self.labels, values, strict=True), *more]
        return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"

    def family(self, *, open_metrics: bool) -> str:
        """The name in HELP and TYPE: in OpenMetrics a counter's is without the suffix that its samples have."""
        return self.name.removesuffix("_total") if open_metrics and self.kind == "counter" else self.name

    def lines(self, *, open_metrics: bool) -> Iterator[str]:
        raise NotImplementedError


class _NumberMetric(_Metric):
    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self.values: dict[Labels, float] = {}

    def lines(self, *, open_metrics: bool) -> Iterator[str]:
        """Write its samples."""
        counts = open_metrics and self.kind == "counter"
        name = self.family(open_metrics=True) + "_total" if counts else self.name
        for labels, value in sorted(self.values.items()):
            yield f"{name}{self.braces(labels)} {_number(value)}"


class Counter(_NumberMetric):
    """A number that only grows, for each combination of label values."""

    kind = "counter"

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add to the counter of these label values."""
        with self.lock:
            self.values[labels] = self.values.get(labels, 0) + amount


class Gauge(_NumberMetric):
    """A number that rises and falls, for each combination of label values."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Set the gauge of these label values."""
        with self.lock:
            self.values[labels] = value

    def replace(self, values: Iterable[tuple[Labels, float]]) -> None:
        """Replace all values of the gauge; label combinations that are not given are removed."""
        with self.lock:
            self.values = dict(values)


@dataclass(slots=True)
class _Buckets:
    counts: list[int]
    total: float = 0.0
    exemplars: dict[int, tuple[str, float, float]] = field(default_factory=dict)


class Histogram(_Metric):
    """The number of observations in each bucket, for each combination of label values."""

    kind = "histogram"

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), bounds: Sequence[float] = LATENCY_BUCKETS
    ) -> None:
        super().__init__(name, help_text, labels)
        self.bounds = list(bounds)
        self.values: dict[Labels, _Buckets] = {}

    def observe(self, value: float, *labels: str, exemplar: str = "") -> None:
        """Count one value; `exemplar` is the id of its request."""
        index = bisect_left(self.bounds, value)
        with self.lock:
            buckets = self.values.get(labels)
            if buckets is None:
                buckets = self.values[labels] = _Buckets([0] * (len(self.bounds) + 1))
            buckets.counts[index] += 1
            buckets.total += value
            if exemplar:
                buckets.exemplars[index] = (exemplar, value, time.time())

    def lines(self, *, open_metrics: bool) -> Iterator[str]:
        """Write its samples."""
        for labels, buckets in sorted(self.values.items()):
            count = 0
            for index, added in enumerate(buckets.counts):
                count += added
                bound = f"{self.bounds[index]:.6g}" if index < len(self.bounds) else "+Inf"
                line = f"{self.name}_bucket{self.braces(labels, ('le', bound))} {count}"
                exemplar = buckets.exemplars.get(index) if open_metrics else None
                if exemplar and _EXEMPLAR.fullmatch(exemplar[0]):
                    line += f' # {{request_id="{_escape(exemplar[0])}"}} {exemplar[1]:.6g} {exemplar[2]:.3f}'
                yield line
            yield f"{self.name}_sum{self.braces(labels)} {_number(buckets.total)}"
            yield f"{self.name}_count{self.braces(labels)} {count}"


class MetricsRegistry:
    """All metrics of a process, in the order of their creation."""

    def __init__(self) -> None:
        self.metrics: list[Counter | Gauge | Histogram] = []

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """Create a counter."""
        self.metrics.append(metric := Counter(name, help_text, labels))
        return metric

    def gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        """Create a gauge."""
        self.metrics.append(metric := Gauge(name, help_text, labels))
        return metric

    def histogram(
        self, name: str, help_text: str, *labels: str, bounds: Sequence[float] = LATENCY_BUCKETS
    ) -> Histogram:
        """Create a histogram."""
        self.metrics.append(metric := Histogram(name, help_text, labels, bounds))
        return metric

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return every metric and the type of the text, in the format that a request's Accept header prefers."""
        open_metrics = "application/openmetrics-text" in accept.lower()
        return self.render(open_metrics=open_metrics), OPEN_METRICS if open_metrics else TEXT

    def render(self, *, open_metrics: bool = False) -> bytes:
        """Write every metric: in the OpenMetrics format with exemplars, or in Prometheus' text format."""
        lines: list[str] = []
        for metric in self.metrics:
            with metric.lock:
                family = metric.family(open_metrics=open_metrics)
                lines.append(f"# HELP {family} {metric.help_text}")
                lines.append(f"# TYPE {family} {metric.kind}")
                lines.extend(metric.lines(open_metrics=open_metrics))
        if open_metrics:
            lines.append("# EOF")
        return ("\n".join(lines) + "\n").encode()
