"""The harness: all contenders in every round, the order reversed in every other round, the noise measured too.

A machine's speed drifts by more than most effects, so only ratios within a round are valid. A constant calibration task
runs before each block, and the CPU time of other processes is counted. Both are printed with the result, so that a
reader can judge its quality.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processor import calibrate
from orchard.reporter import Reporter

__all__ = ["Contender", "Table", "Threshold", "judge", "measure", "spread"]

_TICKS = os.sysconf("SC_CLK_TCK")
FOREIGN_CORES = 0.3
SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the compared alternatives.

    Attributes:
        name: its name in tables.
        run: does the work once and returns its figure; None: the figure is the duration in seconds.
        prepare: the preparation of each run, outside the measured time.
    """

    name: str
    run: Callable[[], float | None]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of a figure.

    Attributes:
        what: the claim, for example ``"pull, against loose files"``.
        value: the least value, or with `maximum` the largest.
        maximum: the value is a maximum.
    """

    what: str
    value: float
    maximum: bool = False


@dataclass
class Table:
    """The figures of all rounds.

    Attributes:
        unit: of the figures.
        higher_is_better: the figures are rates, not times.
        figures: by contender, one figure per round.
        calibration: seconds of the calibration task, one per block.
        foreign: cores that other processes used, one per block.
    """

    unit: str
    higher_is_better: bool
    figures: dict[str, list[float]]
    calibration: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    def ratios(self, name: str, baseline: str) -> list[float]:
        """How many times better than `baseline` a contender was, round by round."""
        pairs = zip(self.figures[name], self.figures[baseline], strict=True)
        return [mine / other if self.higher_is_better else other / mine for mine, other in pairs]

    def text(self, baseline: str) -> str:
        """Format the table: median (min–max) of the figures and of the ratios, and the noise."""
        width = max(len(name) for name in self.figures)
        lines = [f"{'':{width}}  {self.unit + ', median (min–max)':>28}  {'times ' + baseline:>24}"]
        for name, values in self.figures.items():
            ratio = "1" if name == baseline else spread(self.ratios(name, baseline))
            lines.append(f"{name:{width}}  {spread(values):>28}  {ratio:>24}")
        rounds = len(self.figures[baseline])
        noise = (
            f"{rounds} rounds, interleaved; calibration {spread([1000 * s for s in self.calibration])} ms, "
            f"foreign load {spread(self.foreign)} cores"
        )
        return "\n".join([*lines, noise])


def spread(values: Sequence[float]) -> str:
    """Return ``median (min–max)`` with three digits."""
    return f"{_three(statistics.median(values))} ({_three(min(values))}–{_three(max(values))})"


def _three(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measure(
    contenders: Sequence[Contender],
    rounds: int,
    reporter: Reporter,
    *,
    unit: str = "s",
    higher_is_better: bool = False,
) -> Table:
    """Run every contender once in every round.

    Args:
        contenders: at least one, with different names.
        rounds: number of rounds; the second, the fourth … run the contenders in reverse.
        reporter: reports every figure.
        unit: of the figures.
        higher_is_better: the figures are rates.
    """
    table = Table(unit, higher_is_better, {contender.name: [] for contender in contenders})
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            contender.prepare()
            _settle()
            table.calibration.append(calibrate())
            meter = _Meter()
            begin = time.perf_counter()
            figure = contender.run()
            figure = time.perf_counter() - begin if figure is None else figure
            table.foreign.append(meter.foreign_cores())
            table.figures[contender.name].append(figure)
            reporter.note(f"round {number + 1}/{rounds}  {contender.name}: {_three(figure)} {unit}")
    return table


def judge(threshold: Threshold, values: Sequence[float]) -> bool:
    """Print and return whether the median of `values` reaches the threshold."""
    median = statistics.median(values)
    reached = median <= threshold.value if threshold.maximum else median >= threshold.value
    sign = "≤" if threshold.maximum else "≥"
    print(
        f"{'reached' if reached else 'MISSED '}  {threshold.what}: {spread(values)}, "
        f"threshold {sign} {threshold.value:g}"
    )
    return reached


class _Meter:
    """Counts the CPU time of processes outside our tree from now on."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.busy, self.ours = _busy(), _tree()

    def foreign_cores(self) -> float:
        wall = max(time.perf_counter() - self.begin, 1e-3)
        return max(0.0, (_busy() - self.busy) - (_tree() - self.ours)) / wall


def _settle() -> None:
    """Wait until other processes are quiet, at most `SETTLE_SECONDS`: the load is printed anyway."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        meter = _Meter()
        time.sleep(0.3)
        if meter.foreign_cores() < FOREIGN_CORES:
            return


def _busy() -> float:
    """CPU seconds that all cores have worked since the machine started."""
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / _TICKS


def _tree() -> float:
    """CPU seconds of this process and all its descendants, including those that have ended."""
    return sum(_family(os.getpid(), dict(_processes())))


def _processes() -> Iterable[tuple[int, tuple[int, float]]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        yield int(path.parent.name), (int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def _family(root: int, processes: dict[int, tuple[int, float]]) -> Iterable[float]:
    for pid, (parent, seconds) in processes.items():
        if pid == root:
            yield seconds
        elif parent == root:
            yield from _family(pid, processes)
