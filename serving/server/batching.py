"""Dynamic batching: requests that wait at the same time run together.

Only requests of signatures that are known to keep rows apart run together (`row_proof.py`), and only if their inputs have
the declared shapes: the same operation may mix the rows of inputs with more or fewer dimensions.

There is no timer. A free thread takes the oldest request and, with it, those that wait for the same signature with
inputs of the same shape, up to 32 rows. With one client every request runs immediately; with many, the next batch
collects while the model runs.

A failed batch is run again in halves. So only the request that caused the error fails, with TensorFlow's message for
that request alone.
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
from serving.server.declared_shapes import DeclaredShapes
from serving.server.runtime.capi import RunError
from serving.server.runtime.session import SignatureCall, TfSession
from serving.server.runtime.tensors import Array
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = [
    "BatchJob",
    "BatchQueue",
    "BatchRows",
    "Outcome",
    "Outputs",
    "RunThreadPool",
    "lower_priority",
    "usable_cpus",
]

MAX_ROWS = 32
QUICK_S = 0.01
"""The event loop may run a model itself if its last run took at most this many seconds."""

_NICE = 5
Outputs = Mapping[str, tuple[Array, DataType]]
Outcome = Outputs | ServingError


def usable_cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lower_priority(nice: int) -> None:
    """Give the calling thread a lower priority than the event loop's.

    The loop then reads requests while models run, so that more requests run together, and sends answers immediately.

    Args:
        nice: how much lower.
    """
    if sys.platform != "linux":  # elsewhere a thread has no priority of its own
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):  # a sandbox may not support it
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + nice))


@dataclass(slots=True, eq=False)
class BatchJob:
    """One request that waits for a run or runs.

    Attributes:
        queue: the queue of its signature.
        values: one array for each input of the queue.
        deadline: the monotonic time after which the client no longer waits.
        finish: called in the thread that ran the model, with the outcome.
        shape: the shapes without the first dimension; jobs with equal ones may run together. None: it runs alone.
        rows: the size of the first dimension, if it may run with others.
        run_us: how long the run took, in microseconds.
    """

    queue: BatchQueue
    values: Sequence[Array]
    deadline: float
    finish: Callable[[Outcome], None]
    shape: tuple[Any, ...] | None = None
    rows: int = 1
    run_us: float = 0.0

    def __post_init__(self) -> None:
        if not self.queue.batchable:
            return
        shapes = [value.shape for value in self.values]
        rows = shapes[0][0] if shapes[0] else 0
        if rows and all(shape and shape[0] == rows for shape in shapes):
            self.rows = rows
            shape = tuple([shape[1:] for shape in shapes])
            if self.queue.accepts(shape):
                self.shape = shape


class BatchQueue:
    """One signature of one loaded version, and the jobs that wait for it.

    Args:
        session: the loaded version.
        signature: the signature.
        inputs: the aliases of the inputs to feed; default: all.
        outputs: the aliases of the outputs to fetch; default: all.

    Attributes:
        batchable: whether jobs may run together; see `allow_batches`.
        defaults: what to feed to inputs that a request leaves out.
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
        infos = [signature.inputs[alias] for alias in self.inputs]
        self.call = SignatureCall(
            session, [(info.name, info.dtype) for info in infos], [signature.outputs[a].name for a in self.outputs]
        )
        self.batchable = False
        self.defaults: Mapping[str, Array] = {}
        self._shapes: DeclaredShapes | None = DeclaredShapes(infos)
        self.last_run_s = math.inf
        self.waiting: deque[BatchJob] = deque()

    def allow_batches(self, *, any_shape: bool = False) -> None:
        """Let jobs run together: those with inputs of the declared shapes, or all with equal shapes."""
        self.batchable = True
        if any_shape:
            self._shapes = None

    def accepts(self, shape: tuple[Any, ...]) -> bool:
        """Whether jobs with inputs of these sizes, without the first dimension, may run together."""
        return self._shapes is None or self._shapes.accepts(shape)

    def run(self, values: Sequence[Array]) -> Outputs:
        """Run once. Raises `ServingError` with TensorFlow's code and message."""
        try:
            return dict(zip(self.outputs, self.call.run(values), strict=True))
        except RunError as error:
            raise ServingError(StatusCode(error.code), error.message) from error

    def feed_values(self, tensors: Mapping[str, Array]) -> list[Array]:
        """Return arrays by alias as a list in the order of the inputs; the default, where there is none."""
        return [tensors[alias] if alias in tensors else self.defaults[alias] for alias in self.inputs]


class BatchRows(Outputs):
    """A job's rows of the outputs of a batch, sliced when they are read.

    Args:
        batch: the outputs of the whole batch.
        start: the first row.
        end: the row after the last one.
        shared: a cache that all jobs of the batch share, see `rows_of`.
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

    def rows_of(self, make: Callable[[Outputs], list[str]]) -> list[str]:
        """Return these rows of `make(batch)`, a text for each row; `make` is called once for all jobs of the batch."""
        texts: list[str] | None = self._shared.get(make)
        if texts is None:
            texts = self._shared[make] = make(self.batch)
        return texts[self.start : self.end]


def _split(outputs: Outputs, jobs: Sequence[BatchJob]) -> list[BatchRows] | None:
    """Split the outputs of a batch by job; None: they do not have one row for each input row."""
    total = sum(job.rows for job in jobs)
    if any(not array.ndim or array.shape[0] != total for array, _ in outputs.values()):
        return None
    shared: dict[Any, Any] = {}
    ends = accumulate(job.rows for job in jobs)
    return [BatchRows(outputs, end - job.rows, end, shared) for job, end in zip(jobs, ends, strict=True)]


def _run_alone(job: BatchJob) -> Outcome:
    try:
        return job.queue.run(job.values)
    except ServingError as error:
        return error


def _run_batch(jobs: Sequence[BatchJob]) -> list[Outcome]:
    """Run jobs of one queue and one shape; returns their outcomes in the same order."""
    if len(jobs) == 1:
        return [_run_alone(jobs[0])]
    queue = jobs[0].queue
    try:
        columns = zip(*[job.values for job in jobs], strict=True)
        parts = _split(queue.run([np.concatenate(column) for column in columns]), jobs)
    except ServingError:
        middle = len(jobs) // 2
        return _run_batch(jobs[:middle]) + _run_batch(jobs[middle:])
    if parts is None:  # it declares one output row for each input row, but returns others
        queue.batchable = False  # and /metrics says so
        return [_run_alone(job) for job in jobs]
    return list(parts)


class RunThreadPool:
    """The threads that run models.

    Args:
        threads: the number of threads; one for each processor keeps all processors busy.
        max_waiting: the maximum number of waiting jobs; the next one is refused.
        observe: called after each run with its rows and seconds.
        after: called after the jobs of each run are finished.
    """

    def __init__(
        self,
        threads: int,
        max_waiting: int,
        observe: Callable[[int, float], None] | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self._observe = observe
        self._after = after
        self._lock = threading.Lock()
        self._pending: deque[BatchQueue | Callable[[], None]] = deque()
        self._idle: list[threading.Lock] = []
        self._threads = threads
        self._running = 0
        self._pending_calls = 0
        self._woken = 0
        self._stopped = False
        for index in range(threads):
            threading.Thread(target=self._work, name=f"run-{index}", daemon=True).start()

    def submit(self, job: BatchJob) -> None:
        """Queue a job and wake a thread. Raises `ServingError` RESOURCE_EXHAUSTED if too many jobs wait."""
        if self.put(job):
            self.wake()

    def put(self, job: BatchJob) -> bool:
        """Queue a job without waking a thread; returns whether `wake` must be called. Raises as `submit` does."""
        with self._lock:
            if self.waiting >= self.max_waiting:
                raise ServingError(
                    StatusCode.RESOURCE_EXHAUSTED, f"{self.waiting} requests are waiting; try again", retry_after=1
                )
            self.waiting += 1
            job.queue.waiting.append(job)
            self._pending.append(job.queue)  # one entry for each job
            return bool(self._idle)

    def wake(self) -> None:
        """Wake as many idle threads as there is work for, first the one that ran last: its caches are still warm."""
        with self._lock:
            for _ in range(min(len(self._idle), self.waiting + self._pending_calls - self._woken)):
                self._woken += 1
                self._idle.pop().release()

    def call(self, work: Callable[[], None]) -> None:
        """Call a function in a thread of the pool, because it would block the event loop."""
        with self._lock:
            self._pending.append(work)
            self._pending_calls += 1
        self.wake()

    def run_inline(self, job: BatchJob) -> bool:
        """Run a job in the calling thread, if no other job waits or runs and the queue's last run was quick.

        This saves two thread switches, each of which may take as long as the run of a small model.

        Returns:
            Whether it was run; if not, the caller must submit it.
        """
        with self._lock:
            if self.waiting or self._running or self._pending or job.queue.last_run_s > QUICK_S:
                return False
            self._running += 1
        self._run([job])
        with self._lock:
            self._running -= 1
        return True

    def stop(self) -> None:
        """Let the threads end after the waiting jobs."""
        with self._lock:
            self._stopped = True
            self._woken += len(self._idle)
            for idle in self._idle:
                idle.release()
            self._idle.clear()

    def _next(self) -> list[BatchJob] | Callable[[], None] | None:
        """Take the oldest work, and with a job those that may run with it. Called with the lock held."""
        while self._pending:
            work = self._pending.popleft()
            if not isinstance(work, BatchQueue):
                self._pending_calls -= 1
                return work
            # Equal shares of all jobs in flight. Otherwise a thread that once took most of them does so again when its
            # answers bring the next requests at the same time, while another thread runs one small batch after another.
            jobs = self._take(work.waiting, -(-(self.waiting + self._running) // self._threads))
            if jobs:  # else its jobs ran with earlier ones
                self.waiting -= len(jobs)
                self._running += len(jobs)
                return jobs
        return None

    def _take(self, waiting: deque[BatchJob], share: int) -> list[BatchJob]:
        """Take jobs that may run together, at most `share` of them: the rest is for other threads."""
        taken: list[BatchJob] = []
        rows = 0
        while waiting and len(taken) < share:
            job = waiting[0]
            if taken and (job.shape is None or job.shape != taken[0].shape or rows + job.rows > MAX_ROWS):
                break
            taken.append(waiting.popleft())
            if job.shape is None:
                break
            rows += job.rows
        return taken

    def _work(self) -> None:
        lower_priority(_NICE)
        signal = threading.Lock()
        signal.acquire()
        while True:
            with self._lock:
                work = self._next()
                if work is None:
                    if self._stopped:
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
        live = []
        for job in jobs:
            if job.deadline < begin:
                job.finish(ServingError(StatusCode.DEADLINE_EXCEEDED, "The deadline passed while the request waited"))
            else:
                live.append(job)
        if not live:
            return
        try:
            outcomes = _run_batch(live)
        except Exception as error:  # every waiting client must get an answer
            outcomes = [ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}") for _ in live]
        seconds = live[0].queue.last_run_s = time.monotonic() - begin
        for job, outcome in zip(live, outcomes, strict=True):
            job.run_us = seconds * 1e6
            job.finish(outcome)
        if self._observe:
            self._observe(sum([job.rows for job in live]), seconds)
