"""What a figure was measured on: the processor, its threads per core, and whether its CPUs share cores.

A virtual machine may report each of its CPUs as a core although two of them are threads of one. So the reported
topology is printed beside a measurement: how much more work all CPUs do together than one CPU does alone.
"""

from __future__ import annotations

import os
import random
import statistics
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

__all__ = ["calibrate", "machine", "parallel_speedup", "threads_per_core", "usable_cpus"]

_CONTENT = random.Random(0).randbytes(1 << 18) + bytes(1 << 18)  # noqa: S311  the same bytes every time
_REPEATS, _ROUNDS = 4, 5
_SIBLINGS = "cpu/cpu{}/topology/thread_siblings_list"
_SHARED_BELOW = 0.75  # of the CPUs' number: two threads of one core together do 1.1 to 1.4 times the work of one


@cache
def machine() -> str:
    """Return the processor, its topology as reported and as measured, and the memory, for the head of a report."""
    cpus = usable_cpus()
    speedup = parallel_speedup(cpus)
    shared = "they share cores" if len(cpus) > 1 and speedup < _SHARED_BELOW * len(cpus) else "they share no core"
    measured = f"together {speedup:.2f} times the work of one: {shared}" if len(cpus) > 1 else "one CPU"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    reported = threads_per_core(cpus) or "unknown"
    return f"{_model()}, {len(cpus)} CPUs, reported threads per core: {reported}; {measured}; {memory:.0f} GiB"


def usable_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0))


def threads_per_core(cpus: Sequence[int], root: Path = Path("/sys/devices/system")) -> int | None:
    """Return how many of these CPUs the fullest core holds, as the kernel reports it; None: it does not."""
    try:
        siblings = [_numbers((root / _SIBLINGS.format(cpu)).read_text("ascii")) for cpu in cpus]
    except OSError:
        return None
    return max(len(each.intersection(cpus)) for each in siblings)


def _numbers(text: str) -> set[int]:
    """Read the kernel's list of CPUs, for example ``0-3,8``."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def parallel_speedup(cpus: Sequence[int]) -> float:
    """Return how many times the work of one CPU all of them do together.

    It is the median of alternating measurements, which start at the same time but do not wait for each other.
    """
    with ThreadPoolExecutor(len(cpus)) as pool:
        ratios = []
        for _ in range(_ROUNDS):
            alone = pool.submit(_work, cpus[0]).result()
            together = list(pool.map(_work, cpus))
            ratios.append(len(cpus) * alone / statistics.mean(together))
    return statistics.median(ratios)


def _work(cpu: int) -> float:
    """Do constant work on one CPU, without the interpreter's lock, and return its seconds of CPU time.

    CPU time, because waiting for other programs is no sign of a shared core. A busy sibling slows it.
    """
    os.sched_setaffinity(0, {cpu})  # 0: this thread
    begin = time.thread_time()
    for _ in range(_REPEATS):
        calibrate()
    return time.thread_time() - begin


def calibrate() -> float:
    """Time a constant task: the machine's current speed, in seconds."""
    begin = time.perf_counter()
    zlib.compress(_CONTENT, 6)
    return time.perf_counter() - begin


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"
