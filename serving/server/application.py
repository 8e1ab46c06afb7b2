"""What the server answers: TF Serving's REST API, metrics, health."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from serving.server.batching import Job, Lane, Outcome, Outputs, Workers
from serving.server.catalogue import Catalogue
from serving.server.gathering import Gathering
from serving.server.http.messages import Answer, Reply, Request
from serving.server.instruments import Instruments
from serving.server.rest.descriptions import metadata_reply, status_reply
from serving.server.rest.document import parse_body, read_signature_name
from serving.server.rest.examples import read_examples
from serving.server.rest.paths import EmptyError, Target, is_api_path, parse_path
from serving.server.rest.predict import read_inputs
from serving.server.rest.replies import error_reply, predict_reply
from serving.server.rest.results import classify_reply, regress_reply
from serving.server.servable import Servable
from serving.server.status import Code, ServingError
from serving.server.tokens import Tokens

__all__ = ["Application", "Options"]

METRICS_PATH = "/monitoring/prometheus/metrics"
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_NOT_FOUND = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_UNKNOWN_MODEL = "unknown"
_LARGE_BODY = 64 << 10
_API = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}


@dataclass(frozen=True, slots=True)
class Options:
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
class _Exchange:
    """One prediction under way."""

    request: Request
    target: Target
    answer: Answer
    deadline: float
    servable: Servable | None = None
    job: Job | None = None
    run_us: float = 0.0
    done: bool = False


class Application:
    """Answers requests.

    Args:
        catalogue: what is served.
        workers: who runs it; their `after` must be `deliver`.
        instruments: what is measured.
        tokens: who may ask, or None: everybody.
        options: what requests may take.
    """

    def __init__(
        self, catalogue: Catalogue, workers: Workers, instruments: Instruments, tokens: Tokens | None, options: Options
    ) -> None:
        self.catalogue = catalogue
        self.workers = workers
        self.instruments = instruments
        self.tokens = tokens
        self.options = options
        self.draining = False
        self.connections: Callable[[], int] = lambda: 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gathering: Gathering | None = None
        self._readers = {"predict": self._predict, "classify": self._classify, "regress": self._regress}
        self._under_way: dict[_Exchange, None] = {}
        self._admitted = 0
        self._outbox: deque[tuple[_Exchange, Reply]] = deque()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the event loop in whose thread answers are given."""
        self._loop = loop
        self._gathering = Gathering(self.workers, loop, lambda: self.in_flight > 1 or self.connections() > 1)

    def submit(self, job: Job) -> None:
        """Let a job of the event loop's thread wait for a worker. Raises `ServingError` if too many wait already."""
        (self._gathering or self.workers).submit(job)

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return len(self._under_way) + self._admitted

    def is_ready(self, model: str | None = None) -> bool:
        """Whether every configured model, or the one named, is served as configured."""
        problems = self.catalogue.problems(model)
        return bool(problems) and not any(problems.values()) and not self.draining

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request of another protocol as under way. Raises `ServingError` UNAVAILABLE if there are too many."""
        self._admit()
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    def _admit(self) -> None:
        if self.in_flight >= self.options.max_in_flight:
            raise ServingError(Code.UNAVAILABLE, f"{self.in_flight} requests are under way; try again", retry_after=1)

    # requests that are answered at once

    def handle(self, request: Request, answer: Answer) -> None:
        """Answer a request, now or later. Called in the event loop's thread."""
        path = request.path
        try:
            if path in ("/healthz", "/readyz") or path.startswith("/readyz/"):
                answer(self._health(path))
                return
            if self.tokens and not self.tokens.allow(request.headers.get("authorization", "")):
                answer(_unauthenticated())
                return
            if path == METRICS_PATH and request.method == "GET" and request.query is None:
                answer(self._metrics(request))
            elif path.startswith(METRICS_PATH) and request.query is not None:
                text = f"Unexpected path: {path}?{request.query}. Should be {METRICS_PATH}"
                answer(Reply(400, text.encode("utf-8", "replace"), "text/plain"))
            elif not is_api_path(path):
                answer(Reply(404, _NOT_FOUND, "text/html"))
            elif request.method == "OPTIONS":
                answer(_options(request))
            else:
                self._api(request, answer)
        except ServingError as error:
            answer(self._failed(error, None, request))

    def _api(self, request: Request, answer: Answer) -> None:
        target = parse_path(request.method, request.path)
        if target.method == "status":
            answer(Reply(200, status_reply(self.catalogue.status(target.model, target.version))))
        elif target.method == "metadata":
            servable = self.catalogue.acquire(target.model, target.version, target.label)
            try:
                answer(Reply(200, metadata_reply(target.model, servable.number, servable.signatures)))
            finally:
                servable.release()
        else:
            self._begin(request, target, answer)

    def _health(self, path: str) -> Reply:
        if path == "/healthz":
            return Reply(200, b'{"healthy": true}\n')
        model = path[len("/readyz/") :] or None if path.startswith("/readyz/") else None
        ready = self.is_ready(model)
        document: dict[str, Any] = {"ready": ready, "models": self.catalogue.problems(model)}
        if self.draining:
            document["draining"] = True
        return Reply(200 if ready else 503, orjson.dumps(document) + b"\n")

    def _metrics(self, request: Request) -> Reply:
        instruments = self.instruments
        instruments.show(self.catalogue.views, self.catalogue.problems())
        instruments.in_flight.set(self.in_flight)
        instruments.waiting.set(self.workers.waiting)
        instruments.connections.set(self.connections())
        wants_open = "application/openmetrics-text" in request.headers.get("accept", "")
        body = instruments.registry.render(open_metrics=wants_open)
        return Reply(200, body, _OPEN_METRICS if wants_open else "text/plain")

    # predictions

    def _begin(self, request: Request, target: Target, answer: Answer) -> None:
        self._admit()
        exchange = _Exchange(request, target, answer, request.begin + self.options.timeout_s)
        self._under_way[exchange] = None
        if len(request.body) > _LARGE_BODY:
            self.workers.do(partial(self._prepare, exchange, self.workers.submit))
        else:
            self._prepare(exchange, self.submit)
            self.deliver_now()

    def _prepare(self, exchange: _Exchange, submit: Callable[[Job], None]) -> None:
        """Read the body and let the job wait for a worker; in the loop's thread or, for a large body, in a worker's."""
        try:
            lane, values, render = self._readers[exchange.target.method](exchange)
            job = exchange.job = Job(lane, values, exchange.deadline, partial(self._finish, exchange, render))
            submit(job)
        except ServingError as error:
            self._post(exchange, self._failed(error, exchange.target, exchange.request))
        except Exception as error:  # a body that nobody foresaw must not take the connection's state with it
            problem = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            self._post(exchange, self._failed(problem, exchange.target, exchange.request))

    def _servable(self, exchange: _Exchange) -> Servable:
        target = exchange.target
        exchange.servable = self.catalogue.acquire(target.model, target.version, target.label)
        return exchange.servable

    def _predict(self, exchange: _Exchange) -> tuple[Lane, list[Any], Callable[[Outputs], bytes]]:
        document = parse_body(exchange.request.body, self.options.max_values)
        name = read_signature_name(document)
        servable = self._servable(exchange)
        feeds = read_inputs(document, servable.signature(name).inputs, name)
        lane = servable.predict_lane(name)
        return lane, lane.values_of(feeds.tensors), partial(predict_reply, rows=feeds.rows)

    def _classify(self, exchange: _Exchange) -> tuple[Lane, list[Any], Callable[[Outputs], bytes]]:
        document = parse_body(exchange.request.body, self.options.max_values)
        name, examples = read_signature_name(document), read_examples(document)
        lane = self._servable(exchange).classify_lane(name)
        return lane, [examples], partial(classify_reply, examples=len(examples))

    def _regress(self, exchange: _Exchange) -> tuple[Lane, list[Any], Callable[[Outputs], bytes]]:
        document = parse_body(exchange.request.body, self.options.max_values)
        name, examples = read_signature_name(document), read_examples(document)
        lane = self._servable(exchange).regress_lane(name)
        return lane, [examples], partial(regress_reply, examples=len(examples))

    def _finish(self, exchange: _Exchange, render: Callable[[Outputs], bytes], outcome: Outcome) -> None:
        """Make the reply of a job's outcome; in a worker's thread."""
        try:
            if isinstance(outcome, ServingError):
                reply = self._failed(outcome, exchange.target, exchange.request)
            else:
                reply = Reply(200, render(outcome))
        except ServingError as error:
            reply = self._failed(error, exchange.target, exchange.request)
        except Exception as error:  # an output that nobody foresaw
            problem = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            reply = self._failed(problem, exchange.target, exchange.request)
        self._post(exchange, reply)

    # answers

    def _post(self, exchange: _Exchange, reply: Reply) -> None:
        if exchange.servable:
            exchange.servable.release()
        if exchange.job:  # which leads back to its exchange: body and arrays would stay until the collector comes by
            exchange.run_us, exchange.job = exchange.job.run_us, None
        self._outbox.append((exchange, reply))

    def deliver(self) -> None:
        """Have the replies that workers made sent. May be called from any thread."""
        if self._outbox and self._loop:
            try:
                self._loop.call_soon_threadsafe(self.deliver_now)
            except RuntimeError:  # the loop is closed: the process ends
                return

    def deliver_now(self) -> None:
        """Send the replies that are there. Called in the event loop's thread."""
        while self._outbox:
            exchange, reply = self._outbox.popleft()
            self._under_way.pop(exchange, None)
            if not exchange.done:
                exchange.done = True
                self._measure(exchange, reply)
                exchange.answer(reply)

    def _measure(self, exchange: _Exchange, reply: Reply) -> None:
        if reply.status != 200 or exchange.servable is None:
            return
        seconds = time.monotonic() - exchange.request.begin
        target, request = exchange.target, exchange.request
        self.measure(target.model, _API[target.method], "REST", seconds, exchange.run_us, request.id)
        reply.note["version"] = exchange.servable.number

    def measure(self, model: str, api: str, entry: str, seconds: float, run_us: float, example: str = "") -> None:
        """Count a request that was answered: its API, the protocol that it came by, how long it took and its run."""
        self.instruments.count(model, Code.OK)
        self.instruments.latency.observe(seconds * 1e6, model, api, entry, example=example)
        self.instruments.runtime.observe(run_us, model, api, "TF1")

    def count(self, model: str, code: Code) -> None:
        """Count a request that was not answered. Names that are no model's would make a metric each."""
        self.instruments.count(model if model in self.catalogue.views else _UNKNOWN_MODEL, code)

    def _failed(self, error: ServingError, target: Target | None, request: Request) -> Reply:
        if target is not None:
            self.count(target.model, error.code)
        if error.http_status in (413, 429, 503, 504):
            self.instruments.refused.add(str(error.http_status))
        headers = () if error.retry_after is None else (("Retry-After", str(error.retry_after)),)
        body = b"" if isinstance(error, EmptyError) else error_reply(error.message)
        return Reply(error.http_status, body, headers=headers, note={"error": error.message[:200]})

    def expire(self) -> None:
        """Answer what has taken too long; to be called a few times a second."""
        now = time.monotonic()
        for exchange in list(self._under_way):
            if exchange.deadline > now:
                break  # they stand in the order in which they came
            if not exchange.done:
                exchange.done = True
                error = ServingError(
                    Code.DEADLINE_EXCEEDED, f"No answer within {self.options.timeout_s:g} s", retry_after=1
                )
                exchange.answer(self._failed(error, exchange.target, exchange.request))


def _unauthenticated() -> Reply:
    return Reply(401, error_reply("The request needs a valid bearer token"), headers=(("WWW-Authenticate", "Bearer"),))


def _options(request: Request) -> Reply:
    origin = request.headers.get("origin", "")
    if origin.startswith(("http://", "https://")):
        return Reply(200, b"")
    return Reply(400, error_reply(f"Malformed request: OPTIONS {request.path}"))
