"""In-flight predictions of both protocols: accepted, run by the pool, answered or expired.

The pool's threads render the answers. The event loop's thread sends them, all those of a run in one turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from serving.server.batching import BatchJob, BatchQueue, BatchRows, Outcome, Outputs, RunThreadPool
from serving.server.capture.capture_sample import CaptureSample
from serving.server.coalescing import RequestCoalescer
from serving.server.json_process import JsonProcess, is_heavy_answer
from serving.server.model_repository import ModelRepository
from serving.server.servable import Servable
from serving.server.server_metrics import ServerMetrics
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["HeavyBodyError", "InFlightRequest", "PredictionOptions", "PredictionService", "Read"]

_UNKNOWN_MODEL = "unknown"
_MAX_INLINE_S = 0.25
"""The most seconds that models may run in the loop's thread between two calls of `expire`."""
_CONCURRENT_S = 0.1
"""For so many seconds after requests were in flight together, the next one is expected to be accompanied too."""


@dataclass(frozen=True, slots=True)
class PredictionOptions:
    """The limits of predictions.

    Attributes:
        timeout_s: the maximum duration of a request.
        max_in_flight: the maximum number of requests in flight; the next one gets UNAVAILABLE.
        max_values: the maximum number of values in a JSON body.
    """

    timeout_s: float = 30.0
    max_in_flight: int = 1024
    max_values: int = 2_000_000


@dataclass(slots=True, eq=False)
class InFlightRequest:
    """One prediction in flight.

    Attributes:
        model: the model's name.
        api: `Predict`, `Classify` or `Regress`.
        entrypoint: the protocol, `REST` or `GRPC`.
        begin: the monotonic time at which the whole request had arrived.
        respond: called once, in the event loop's thread, with this request and the answer or the error.
        id: the request's id.
        servable: the version that answers, once it is held.
        run_us: how long the run took, in microseconds.
        done: it was answered, or its client no longer waits.
        sample: it is captured; None: it is not.
    """

    model: str
    api: str
    entrypoint: str
    begin: float
    respond: Callable[[InFlightRequest, Any], None]
    id: str = ""
    servable: Servable | None = None
    job: BatchJob | None = None
    run_us: float = 0.0
    done: bool = False
    sample: CaptureSample | None = None


Read = tuple[BatchQueue, list[Any], Callable[[Outputs], Any]]
"""A request after reading: the queue, the arrays to feed, and the function that renders the outputs as an answer."""


class HeavyBodyError(Exception):
    """A body turned out to be too slow to read here.

    Attributes:
        read: reads it by the JSON process.
    """

    def __init__(self, read: Callable[[InFlightRequest], Read]) -> None:
        super().__init__()
        self.read = read


class PredictionService:
    """Runs predictions.

    Args:
        repository: the loaded models.
        pool: the threads that run models; its `after` must be `deliver`.
        metrics: the server's metrics.
        options: the limits.
    """

    def __init__(
        self, repository: ModelRepository, pool: RunThreadPool, metrics: ServerMetrics, options: PredictionOptions
    ) -> None:
        self.repository = repository
        self.pool = pool
        self.metrics = metrics
        self.options = options
        self.connections: Callable[[], int] = lambda: 0
        self.capture: Callable[[str, int, CaptureSample], None] | None = None
        self.json_process = JsonProcess(after=self.deliver)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._coalescer: RequestCoalescer | None = None
        self._in_flight: dict[InFlightRequest, None] = {}
        self._last_concurrent = 0.0
        self._inline_s = 0.0
        self._outbox: deque[tuple[InFlightRequest, Any]] = deque()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop in whose thread answers are sent."""
        self._loop = loop
        self._coalescer = RequestCoalescer(self.pool, loop, self._expects_more)

    @property
    def in_flight(self) -> int:
        """The number of predictions in flight."""
        return len(self._in_flight)

    def _expects_more(self) -> bool:
        """Whether other requests may arrive together with the current one."""
        return self.in_flight > 1 or self.connections() > 1 or time.monotonic() - self._last_concurrent < _CONCURRENT_S

    def begin(
        self,
        request: InFlightRequest,
        read: Callable[[InFlightRequest], Read],
        deadline: float,
        *,
        large: bool = False,
    ) -> None:
        """Accept a prediction. Called in the event loop's thread.

        Args:
            request: the prediction; it is answered immediately or later.
            read: reads the request, and sets its `servable` to the version that it holds.
            deadline: the monotonic time after which its client no longer waits; no later than the server's timeout.
            large: reading it would block the loop; a thread of the pool reads it.

        Raises:
            ServingError: UNAVAILABLE, too many predictions are in flight.
        """
        self._accept(request)
        if large:
            self.pool.call(partial(self._prepare, request, read, deadline, self.pool.submit))
        else:
            alone = (
                request.entrypoint == "REST" and not self._expects_more()
            )  # the number of gRPC connections is unknown
            self._prepare(request, read, deadline, self._run_alone if alone else self._submit)
            self.deliver_now()

    def begin_heavy(self, request: InFlightRequest, read: Callable[[InFlightRequest], Read], deadline: float) -> None:
        """Accept a prediction as `begin` does; `read` is called in the thread of the JSON process."""
        self._accept(request)
        self._prepare_heavy(request, read, deadline)
        self.deliver_now()

    def _prepare_heavy(
        self, request: InFlightRequest, read: Callable[[InFlightRequest], Read], deadline: float
    ) -> None:
        try:
            self.json_process.call(partial(self._prepare, request, read, deadline, self.pool.submit))
        except ServingError as error:
            self._post(request, error)

    def _accept(self, request: InFlightRequest) -> None:
        if self.in_flight >= self.options.max_in_flight:
            self._count(request.model, StatusCode.UNAVAILABLE)
            raise ServingError(
                StatusCode.UNAVAILABLE, f"{self.in_flight} requests are in flight; try again", retry_after=1
            )
        if self._in_flight:
            self._last_concurrent = request.begin
        self._in_flight[request] = None

    def _submit(self, job: BatchJob) -> None:
        (self._coalescer or self.pool).submit(job)

    def _run_alone(self, job: BatchJob) -> None:
        """Run the job of an only client inline: the loop has no other client to answer meanwhile."""
        begin = time.monotonic()
        if self._inline_s < _MAX_INLINE_S and self.pool.run_inline(job):
            self._inline_s += time.monotonic() - begin
        else:
            self._submit(job)

    def _prepare(
        self,
        request: InFlightRequest,
        read: Callable[[InFlightRequest], Read],
        deadline: float,
        submit: Callable[[BatchJob], None],
    ) -> None:
        """Read the request and submit its job, in the loop's thread or, if the request is large, in one of the pool."""
        try:
            if request.done:  # it waited longer than the timeout, and was answered
                raise ServingError(StatusCode.DEADLINE_EXCEEDED, "The deadline passed while the request waited")
            queue, values, render = read(request)
            if request.sample is not None:
                request.sample.read(queue.inputs, values)
            request.job = BatchJob(queue, values, deadline, partial(self._finish, request, render))
            submit(request.job)
        except HeavyBodyError as heavy:
            self._prepare_heavy(request, heavy.read, deadline)
        except Exception as error:  # an unexpected error must not break the connection's state
            self._post(request, _as_serving_error(error))

    def _finish(self, request: InFlightRequest, render: Callable[[Outputs], Any], outcome: Outcome) -> None:
        """Render the answer of a job's outcome, in the thread that ran it; a large one is printed by the JSON process."""
        try:
            if request.sample is not None and not isinstance(outcome, ServingError):
                request.sample.outputs = outcome
            if isinstance(outcome, ServingError):
                answer: Any = outcome
            elif request.entrypoint == "REST" and is_heavy_answer(_elements(outcome)):
                self.json_process.call(partial(self._finish_heavy, request, render, outcome))
                return
            else:
                answer = render(outcome)
        except Exception as error:  # an unexpected output
            answer = _as_serving_error(error)
        self._post(request, answer)

    def _finish_heavy(self, request: InFlightRequest, render: Callable[[Outputs], Any], outputs: Outputs) -> None:
        """Have the JSON process render an answer, in its thread."""
        answer: Any
        try:
            answer = self.json_process.print_answer(render, outputs)
        except Exception as error:
            answer = _as_serving_error(error)
        self._post(request, answer)

    def _post(self, request: InFlightRequest, answer: Any) -> None:
        if request.servable:
            request.servable.release()
        if (
            request.job
        ):  # it refers back to the request: the cycle would keep body and arrays until the garbage collector runs
            request.run_us, request.job = request.job.run_us, None
        self._outbox.append((request, answer))

    def deliver(self) -> None:
        """Schedule `deliver_now`. May be called from any thread."""
        if self._outbox and self._loop:
            try:
                self._loop.call_soon_threadsafe(self.deliver_now)
            except RuntimeError:  # the loop is closed: the process is ending
                return

    def deliver_now(self) -> None:
        """Send the finished answers. Called in the event loop's thread."""
        while self._outbox:
            request, answer = self._outbox.popleft()
            self._in_flight.pop(request, None)
            if not request.done:
                self._respond(request, answer)

    def _respond(self, request: InFlightRequest, answer: Any) -> None:
        request.done = True
        request.respond(request, answer)  # first, so that the client does not wait for the rest
        if isinstance(answer, ServingError):
            self._count(request.model, answer.code)
        else:
            self._measure(request)
            if request.sample is not None and request.servable is not None and self.capture is not None:
                self.capture(request.model, request.servable.number, request.sample)

    def _measure(self, request: InFlightRequest) -> None:
        """Count an answered request, its latency and the time of its run."""
        model, api, metrics = request.model, request.api, self.metrics
        metrics.count(model, StatusCode.OK)
        metrics.latency.observe(
            (time.monotonic() - request.begin) * 1e6, model, api, request.entrypoint, exemplar=request.id
        )
        metrics.runtime.observe(request.run_us, model, api, "TF1")

    def _count(self, model: str, code: StatusCode) -> None:
        """Count a failed request. Unknown model names share one label, because each would add a time series."""
        self.metrics.count(model if model in self.repository.snapshots else _UNKNOWN_MODEL, code)

    def expire(self) -> None:
        """Answer requests that exceeded the timeout; to be called a few times a second."""
        self._inline_s = 0.0
        oldest = time.monotonic() - self.options.timeout_s
        for request in list(self._in_flight):
            if request.begin > oldest:
                break  # they are in the order of their arrival
            if not request.done:
                text = f"No answer within {self.options.timeout_s:g} s"
                self._respond(request, ServingError(StatusCode.DEADLINE_EXCEEDED, text, retry_after=1))


def _elements(outputs: Outputs) -> int:
    """Return the number of elements of a request's outputs."""
    if type(outputs) is not BatchRows:
        return sum([array.size for array, _ in outputs.values()])
    row: int = sum([array.size // array.shape[0] for array, _ in outputs.batch.values()])
    return row * (outputs.end - outputs.start)


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    return ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
