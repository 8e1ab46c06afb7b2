"""Requests that wait together run together.

There is no timer. A worker that becomes free takes the oldest request and, with it, those that wait for the same
signature with inputs of the same shape, up to 32 rows. With one client every request runs at once; with many, the time
that a run takes gathers the next batch by itself.

A run that fails is run again in halves, so that the one request that made it fail is the only one that fails, with the
words that TensorFlow has for it alone.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from orchard.savedmodel.signatures import SignatureDef
from orchard.savedmodel.types import DataType
from serving.server.runtime.capi import RunError
from serving.server.runtime.session import SignatureCall, TfSession
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["BatchJob", "BatchQueue", "BatchRows", "Outcome", "Outputs", "RunThreadPool", "usable_cpus"]

MAX_ROWS = 32
QUICK_S = 0.01
"""An event loop may wait for a run that takes no longer."""

_NICE = 5
Outputs = Mapping[str, tuple[Array, DataType]]
Outcome = Outputs | ServingError


def usable_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_dimension_open(signature: SignatureDef) -> bool:
    infos = (*signature.inputs.values(), *signature.outputs.values())
    return bool(signature.inputs) and all(info.shape and info.shape[0].size == -1 for info in infos)


def _give_way() -> None:
    """Let the calling thread yield the processor to the event loop's.

    While models run the loop then reads on, so that more requests run together, and answers go out at once.
    """
    if sys.platform != "linux":  # where a thread has no priority of its own
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):  # a sandbox may not know it
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _NICE))


@dataclass(slots=True, eq=False)
class BatchJob:
    """One request on its way through a worker.

    Attributes:
        lane: the signature that it asks for.
        values: one array for each of the lane's inputs.
        deadline: the monotonic time after which nobody wants the answer.
        finish: called in the worker with the outcome.
        shape: what must be equal for two jobs to run together; None: it runs alone.
        rows: the size of the first dimension, if it may run with others.
    """

    lane: BatchQueue
    values: Sequence[Array]
    deadline: float
    finish: Callable[[Outcome], None]
    shape: tuple[Any, ...] | None = None
    rows: int = 1
    run_us: float = 0.0

    def __post_init__(self) -> None:
        if not self.lane.batchable:
            return
        shapes = [value.shape for value in self.values]
        rows = shapes[0][0] if shapes[0] else 0
        if rows and all(shape and shape[0] == rows for shape in shapes):
            self.rows = rows
            self.shape = tuple([shape[1:] for shape in shapes])


class BatchQueue:
    """One signature of one loaded version, and the jobs that wait for it.

    Args:
        session: the loaded version.
        signature: what it declares.
        inputs: the aliases to feed, default all.
        outputs: the aliases to fetch, default all.
    """

    def __init__(
        self,
        session: TfSession,
        signature: SignatureDef,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self.inputs = tuple(signature.inputs if inputs is None else inputs)
        self.outputs = tuple(signature.outputs if outputs is None else outputs)
        fed = [signature.inputs[alias] for alias in self.inputs]
        self.call = SignatureCall(
            session, [(info.name, info.dtype) for info in fed], [signature.outputs[a].name for a in self.outputs]
        )
        self.batchable = _first_dimension_open(signature)
        self.last_s = math.inf
        self.waiting: deque[BatchJob] = deque()

    def run(self, values: Sequence[Array]) -> Outputs:
        """Run once. Raises `ServingError` with TensorFlow's code and words."""
        try:
            return dict(zip(self.outputs, self.call.run(values), strict=True))
        except RunError as error:
            raise ServingError(StatusCode(error.code), error.message) from error

    def values_of(self, tensors: Mapping[str, Array]) -> list[Array]:
        """Put arrays by alias into the order in which the lane feeds them."""
        return [tensors[alias] for alias in self.inputs]


class BatchRows(Outputs):
    """Some rows of what a batch gave, cut out of it when they are looked at.

    Args:
        batch: the outputs of the whole batch.
        start: the first row.
        end: the row after the last one.
        shared: what the batch's jobs have in common, see `of_batch`.
    """

    __slots__ = ("_shared", "batch", "end", "start")

    def __init__(self, batch: Outputs, start: int, end: int, shared: dict[Any, Any]) -> None:
        self.batch = batch
        self.start = start
        self.end = end
        self._shared = shared

    def __getitem__(self, alias: str) -> tuple[Array, DataType]:
        array, dtype = self.batch[alias]
        return array[self.start : self.end], dtype

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch)

    def __len__(self) -> int:
        return len(self.batch)

    def of_batch(self, make: Callable[[Outputs], list[str]]) -> list[str]:
        """Return these rows of what `make` makes of the batch, one text for each row; it is called once for all jobs."""
        made = self._shared.get(make)
        if made is None:
            made = self._shared[make] = make(self.batch)
        found: list[str] = made[self.start : self.end]
        return found


def _split(outputs: Outputs, jobs: Sequence[BatchJob]) -> list[BatchRows] | None:
    """Cut the outputs of a batch apart; None: they have not one row for each row that went in."""
    total = sum(job.rows for job in jobs)
    if any(not array.ndim or array.shape[0] != total for array, _ in outputs.values()):
        return None
    shared: dict[Any, Any] = {}
    ends = accumulate(job.rows for job in jobs)
    return [BatchRows(outputs, end - job.rows, end, shared) for job, end in zip(jobs, ends, strict=True)]


def _run_alone(job: BatchJob) -> Outcome:
    try:
        return job.lane.run(job.values)
    except ServingError as error:
        return error


def _run_together(jobs: Sequence[BatchJob]) -> list[Outcome]:
    """Run jobs of one lane and one shape; returns their outcomes in the same order."""
    if len(jobs) == 1:
        return [_run_alone(jobs[0])]
    lane = jobs[0].lane
    try:
        columns = zip(*[job.values for job in jobs], strict=True)
        parts = _split(lane.run([np.concatenate(column) for column in columns]), jobs)
    except ServingError:
        middle = len(jobs) // 2
        return _run_together(jobs[:middle]) + _run_together(jobs[middle:])
    if parts is None:  # it declares one row out for each row in, and does something else
        lane.batchable = False
        return [_run_alone(job) for job in jobs]
    return list(parts)


class RunThreadPool:
    """The threads that run models.

    Args:
        threads: how many; one for each processor keeps them all busy without any waiting for another.
        max_waiting: the most jobs that may wait; the next one is refused.
        max_rows: the most rows that are run together.
        observe: called with each run's rows and seconds.
        after: called once after each run's jobs are finished.
    """

    def __init__(
        self,
        threads: int,
        max_waiting: int,
        max_rows: int = MAX_ROWS,
        observe: Callable[[int, float], None] | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_waiting = max_waiting
        self.max_rows = max_rows
        self.waiting = 0
        self._observe = observe
        self._after = after
        self._lock = threading.Lock()
        self._todo: deque[BatchQueue | Callable[[], None]] = deque()
        self._idle: list[threading.Lock] = []
        self._threads = threads
        self._running = 0
        self._calls = 0
        self._woken = 0
        self._ended = False
        for index in range(threads):
            threading.Thread(target=self._work, name=f"run-{index}", daemon=True).start()

    def submit(self, job: BatchJob) -> None:
        """Let a job wait for a worker. Raises `ServingError` RESOURCE_EXHAUSTED if too many wait already."""
        if self.put(job):
            self.wake()

    def put(self, job: BatchJob) -> bool:
        """Let a job wait without waking anybody for it; returns whether `wake` must be called. Raises as `submit` does."""
        with self._lock:
            if self.waiting >= self.max_waiting:
                raise ServingError(
                    StatusCode.RESOURCE_EXHAUSTED, f"{self.waiting} requests wait already; try again", retry_after=1
                )
            self.waiting += 1
            job.lane.waiting.append(job)
            self._todo.append(job.lane)  # one entry for each job
            return bool(self._idle)

    def wake(self) -> None:
        """Wake as many idle workers as there is work for, first the one that ran last: its caches are still warm."""
        with self._lock:
            for _ in range(min(len(self._idle), self.waiting + self._calls - self._woken)):
                self._woken += 1
                self._idle.pop().release()

    def do(self, work: Callable[[], None]) -> None:
        """Let a worker call something that would hold up the event loop."""
        with self._lock:
            self._todo.append(work)
            self._calls += 1
        self.wake()

    def run_here(self, job: BatchJob) -> bool:
        """Run a job in the caller's thread, if nothing else waits or runs and the lane's last run was quick.

        Two threads less are woken for it, each of which may take as long as a small model's run.

        Returns:
            Whether it was run; if not, somebody else must.
        """
        with self._lock:
            if self.waiting or self._running or self._todo or job.lane.last_s > QUICK_S:
                return False
            self._running += 1
        self._run([job])
        with self._lock:
            self._running -= 1
        return True

    def stop(self) -> None:
        """Let the threads end after what waits now."""
        with self._lock:
            self._ended = True
            self._woken += len(self._idle)
            for idle in self._idle:
                idle.release()
            self._idle.clear()

    def _next(self) -> list[BatchJob] | Callable[[], None] | None:
        """Take the oldest work, and with a job those that may run together with it. Called with the lock held."""
        while self._todo:
            work = self._todo.popleft()
            if not isinstance(work, BatchQueue):
                self._calls -= 1
                return work
            # Even shares of all that is under way: else a worker that once took most of it does so again whenever its
            # answers bring the next requests, all of them together, while the other has one small batch after another.
            jobs = self._take(work.waiting, -(-(self.waiting + self._running) // self._threads))
            if jobs:  # else its jobs went with others before
                self.waiting -= len(jobs)
                self._running += len(jobs)
                return jobs
        return None

    def _take(self, waiting: deque[BatchJob], share: int) -> list[BatchJob]:
        """Take what may run together, and no more jobs than `share`: other workers get theirs."""
        taken: list[BatchJob] = []
        rows = 0
        while waiting and len(taken) < share:
            job = waiting[0]
            if taken and (job.shape is None or job.shape != taken[0].shape or rows + job.rows > self.max_rows):
                break
            taken.append(waiting.popleft())
            if job.shape is None:
                break
            rows += job.rows
        return taken

    def _work(self) -> None:
        _give_way()
        signal = threading.Lock()
        signal.acquire()
        while True:
            with self._lock:
                work = self._next()
                if work is None:
                    if self._ended:
                        return
                    self._idle.append(signal)
            if work is None:
                signal.acquire()
                with self._lock:
                    self._woken -= 1
                continue
            if isinstance(work, list):
                self._run(work)
                with self._lock:
                    self._running -= len(work)
            else:
                work()
            self._after()

    def _run(self, jobs: Sequence[BatchJob]) -> None:
        begin = time.monotonic()
        alive = []
        for job in jobs:
            if job.deadline < begin:
                job.finish(ServingError(StatusCode.DEADLINE_EXCEEDED, "The request waited longer than its deadline"))
            else:
                alive.append(job)
        if not alive:
            return
        try:
            outcomes = _run_together(alive)
        except Exception as error:  # whatever it is, those who wait must hear of it
            outcomes = [ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}") for _ in alive]
        seconds = alive[0].lane.last_s = time.monotonic() - begin
        for job, outcome in zip(alive, outcomes, strict=True):
            job.run_us = seconds * 1e6
            job.finish(outcome)
        if self._observe:
            self._observe(sum([job.rows for job in alive]), seconds)
