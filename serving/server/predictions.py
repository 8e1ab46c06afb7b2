"""Predictions under way, of both protocols: let in, run by the workers, answered, or told that it took too long.

Workers make the answers; the event loop's thread gives them, all those of a run in one turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from serving.server.batching import BatchJob, BatchQueue, Outcome, Outputs, RunThreadPool
from serving.server.coalescing import RequestCoalescer
from serving.server.model_repository import ModelRepository
from serving.server.servable import Servable
from serving.server.server_metrics import ServerMetrics
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["InFlightRequest", "PredictionOptions", "PredictionService", "Read"]

_UNKNOWN_MODEL = "unknown"
_HERE_S = 0.25
"""Models may run in the loop's thread for so long between two calls of `expire`: an only client may send much at once."""
_CROWD_S = 0.1
"""So long after requests were under way together others are expected to come with the next one."""


@dataclass(frozen=True, slots=True)
class PredictionOptions:
    """What requests may take.

    Attributes:
        timeout_s: how long a request may take.
        max_in_flight: how many requests may be under way; the next one is told to come again.
        max_values: the most values in one JSON body.
    """

    timeout_s: float = 30.0
    max_in_flight: int = 1024
    max_values: int = 2_000_000


@dataclass(slots=True, eq=False)
class InFlightRequest:
    """One prediction under way.

    Attributes:
        model: the name of the model that is asked.
        api: `Predict`, `Classify` or `Regress`.
        entry: the protocol that it came by, `REST` or `GRPC`.
        begin: the monotonic time of the request's first byte.
        respond: called once, in the event loop's thread, with the exchange and the answer that was made of the
            outputs, or the error.
        id: the request's id.
        servable: the version that answers, once one is held.
        done: it was answered, or nobody waits for the answer any more.
    """

    model: str
    api: str
    entry: str
    begin: float
    respond: Callable[[InFlightRequest, Any], None]
    id: str = ""
    servable: Servable | None = None
    job: BatchJob | None = None
    run_us: float = 0.0
    done: bool = False


Read = tuple[BatchQueue, list[Any], Callable[[Outputs], Any]]
"""A request as it was read: the lane, what to feed, and what makes the answer of the outputs."""


class PredictionService:
    """Runs predictions.

    Args:
        catalogue: what is served.
        workers: who runs it; their `after` must be `deliver`.
        instruments: what is measured.
        options: what requests may take.
    """

    def __init__(
        self, catalogue: ModelRepository, workers: RunThreadPool, instruments: ServerMetrics, options: PredictionOptions
    ) -> None:
        self.catalogue = catalogue
        self.workers = workers
        self.instruments = instruments
        self.options = options
        self.connections: Callable[[], int] = lambda: 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gathering: RequestCoalescer | None = None
        self._under_way: dict[InFlightRequest, None] = {}
        self._crowded = 0.0
        self._here_s = 0.0
        self._outbox: deque[tuple[InFlightRequest, Any]] = deque()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the event loop in whose thread answers are given."""
        self._loop = loop
        self._gathering = RequestCoalescer(self.workers, loop, self._expects)

    @property
    def in_flight(self) -> int:
        """How many predictions are under way."""
        return len(self._under_way)

    def _expects(self) -> bool:
        """Whether other requests may come with the one that is here."""
        return self.in_flight > 1 or self.connections() > 1 or time.monotonic() - self._crowded < _CROWD_S

    def begin(
        self,
        exchange: InFlightRequest,
        read: Callable[[InFlightRequest], Read],
        deadline: float,
        *,
        large: bool = False,
    ) -> None:
        """Let a prediction in. Called in the event loop's thread.

        Args:
            exchange: the prediction; it is answered now or later.
            read: reads the request; it gives the exchange the version that it took hold of.
            deadline: the monotonic time after which its client waits no more; no later than the server's own.
            large: reading it would hold up the loop; a worker does it.

        Raises:
            ServingError: UNAVAILABLE, too many are under way.
        """
        if self.in_flight >= self.options.max_in_flight:
            self._count(exchange.model, StatusCode.UNAVAILABLE)
            raise ServingError(
                StatusCode.UNAVAILABLE, f"{self.in_flight} requests are under way; try again", retry_after=1
            )
        if self._under_way:
            self._crowded = exchange.begin
        self._under_way[exchange] = None
        if large:
            self.workers.do(partial(self._prepare, exchange, read, deadline, self.workers.submit))
        else:
            alone = exchange.entry == "REST" and not self._expects()  # gRPC does not tell of its connections
            self._prepare(exchange, read, deadline, self._run_alone if alone else self._submit)
            self.deliver_now()

    def _submit(self, job: BatchJob) -> None:
        (self._gathering or self.workers).submit(job)

    def _run_alone(self, job: BatchJob) -> None:
        """Run the job of an only client at once: there is nobody whom the loop could answer meanwhile."""
        begin = time.monotonic()
        if self._here_s < _HERE_S and self.workers.run_here(job):
            self._here_s += time.monotonic() - begin
        else:
            self._submit(job)

    def _prepare(
        self,
        exchange: InFlightRequest,
        read: Callable[[InFlightRequest], Read],
        deadline: float,
        submit: Callable[[BatchJob], None],
    ) -> None:
        """Read the request and let its job wait; in the loop's thread or, for a large request, in a worker's."""
        try:
            lane, values, render = read(exchange)
            exchange.job = BatchJob(lane, values, deadline, partial(self._finish, exchange, render))
            submit(exchange.job)
        except Exception as error:  # a request that nobody foresaw must not take the connection's state with it
            self._post(exchange, _as_serving_error(error))

    def _finish(self, exchange: InFlightRequest, render: Callable[[Outputs], Any], outcome: Outcome) -> None:
        """Make the answer of a job's outcome; in a worker's thread."""
        try:
            answer = outcome if isinstance(outcome, ServingError) else render(outcome)
        except Exception as error:  # an output that nobody foresaw
            answer = _as_serving_error(error)
        self._post(exchange, answer)

    def _post(self, exchange: InFlightRequest, answer: Any) -> None:
        if exchange.servable:
            exchange.servable.release()
        if exchange.job:  # which leads back to its exchange: body and arrays would stay until the collector comes by
            exchange.run_us, exchange.job = exchange.job.run_us, None
        self._outbox.append((exchange, answer))

    def deliver(self) -> None:
        """Have the answers that workers made given. May be called from any thread."""
        if self._outbox and self._loop:
            try:
                self._loop.call_soon_threadsafe(self.deliver_now)
            except RuntimeError:  # the loop is closed: the process ends
                return

    def deliver_now(self) -> None:
        """Give the answers that are there. Called in the event loop's thread."""
        while self._outbox:
            exchange, answer = self._outbox.popleft()
            self._under_way.pop(exchange, None)
            if not exchange.done:
                self._respond(exchange, answer)

    def _respond(self, exchange: InFlightRequest, answer: Any) -> None:
        exchange.done = True
        exchange.respond(exchange, answer)  # first of all: what follows need not be waited for
        if isinstance(answer, ServingError):
            self._count(exchange.model, answer.code)
        else:
            self._measure(exchange)

    def _measure(self, exchange: InFlightRequest) -> None:
        """Count a request that was answered: its API, the protocol that it came by, how long it took and its run."""
        model, api, instruments = exchange.model, exchange.api, self.instruments
        instruments.count(model, StatusCode.OK)
        instruments.latency.observe(
            (time.monotonic() - exchange.begin) * 1e6, model, api, exchange.entry, example=exchange.id
        )
        instruments.runtime.observe(exchange.run_us, model, api, "TF1")

    def _count(self, model: str, code: StatusCode) -> None:
        """Count a request that was not answered. Names that are no model's would make a metric each."""
        self.instruments.count(model if model in self.catalogue.views else _UNKNOWN_MODEL, code)

    def expire(self) -> None:
        """Answer what has taken too long; to be called a few times a second."""
        self._here_s = 0.0
        oldest = time.monotonic() - self.options.timeout_s
        for exchange in list(self._under_way):
            if exchange.begin > oldest:
                break  # they stand in the order in which they came
            if not exchange.done:
                text = f"No answer within {self.options.timeout_s:g} s"
                self._respond(exchange, ServingError(StatusCode.DEADLINE_EXCEEDED, text, retry_after=1))


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    return ServingError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
