"""The HTTP routes: TF Serving's REST API, the Open Inference Protocol, metrics and health."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from orchard.request_headers import CHANNEL_HEADER
from orchard.savedmodel.signatures import TensorInfo
from serving.http.http_messages import Answer, HttpRequest, HttpResponse
from serving.server.api_descriptions import DESCRIPTIONS, describe
from serving.server.batching import RunThreadPool
from serving.server.capture.photo_capture import PhotoCapture
from serving.server.channel_header import choose_by_channel
from serving.server.json_process import is_heavy_body
from serving.server.model_repository import ModelRepository
from serving.server.predictions import HeavyBodyError, InFlightRequest, PredictionOptions, PredictionService, Read
from serving.server.rest.api_routes import is_open_inference_path, parse_open_inference_path
from serving.server.rest.descriptions import metadata_reply, status_reply
from serving.server.rest.examples import read_examples
from serving.server.rest.inference_replies import inference_reply
from serving.server.rest.inference_request import (
    BINARY_HEADER,
    InferenceHead,
    no_binary_tensors,
    read_inference_head,
    read_tensors,
)
from serving.server.rest.paths import EmptyError, RequestTarget, is_api_path, parse_path
from serving.server.rest.photo_bodies import PhotoRequest, is_binary, photo_input, read_photo_head
from serving.server.rest.photo_replies import AnsweredBy, photo_reply
from serving.server.rest.predict import read_inputs
from serving.server.rest.request_body import SlowBodyError, parse_body, read_signature_name
from serving.server.rest.responses import error_reply, predict_reply
from serving.server.rest.results import classify_reply, regress_reply
from serving.server.row_probe import as_strings
from serving.server.runtime.tensors import Array
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.server_metrics import ServerMetrics
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode
from serving.tokens import BearerTokens

__all__ = ["Application"]

METRICS_PATH = "/monitoring/prometheus/metrics"
NON_FINITE = "x-orchard-non-finite"
"""A request's header: a query parameter would change TF Serving's routing, it ignores unknown headers."""

_NOT_FOUND = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_LARGE_BODY = 64 << 10
_LENIENT_BODY = 4 << 10
"""A larger body that only the lenient parser can read goes to the JSON process."""
_API = {"predict": "Predict", "classify": "Classify", "regress": "Regress", "infer": "Predict"}
_EXAMPLES = ("classify", "regress")


class Application:
    """Answers requests.

    Args:
        repository: the loaded models.
        pool: the threads that run models; its `after` must be `PredictionService.deliver`.
        metrics: the server's metrics.
        tokens: the accepted bearer tokens; None: every client is accepted.
        options: the limits of predictions.
        capture: captures a share of the photos; None: nothing is captured.
    """

    def __init__(
        self,
        repository: ModelRepository,
        pool: RunThreadPool,
        metrics: ServerMetrics,
        tokens: BearerTokens | None,
        options: PredictionOptions,
        capture: PhotoCapture | None = None,
    ) -> None:
        self.repository = repository
        self.pool = pool
        self.metrics = metrics
        self.tokens = tokens
        self.options = options
        self.capture = capture
        self.predictions = PredictionService(repository, pool, metrics, options)
        if capture is not None:
            self.predictions.capture = capture.offer
        self.draining = False
        self._readers = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "infer": self._infer,
        }

    def is_ready(self, model: str | None = None) -> bool:
        """Whether every configured model, or the given one, is served as configured."""
        problems = self.repository.problems(model)
        return bool(problems) and not any(problems.values()) and not self.draining

    # requests that are answered immediately

    def handle(self, request: HttpRequest, answer: Answer) -> None:
        """Answer a request, immediately or later. Called in the thread of the event loop."""
        path = request.path
        try:
            if path in ("/healthz", "/readyz") or path.startswith("/readyz/"):
                answer(self._health(path))
                return
            if self.tokens and not self.tokens.allow(request.headers.get("authorization", "")):
                self.metrics.refused.add("401")
                answer(_unauthenticated())
                return
            if path == METRICS_PATH and request.method in ("GET", "HEAD") and request.query is None:
                answer(self._metrics(request))
            elif path.startswith(METRICS_PATH) and request.query is not None:
                text = f"Unexpected path: {path}?{request.query}. Should be {METRICS_PATH}"
                answer(HttpResponse(400, text.encode("utf-8", "replace"), "text/plain"))
            elif not _is_api(path):
                answer(_no_such_path(request))
            elif request.method == "OPTIONS":
                answer(_options(request))
            else:
                self._api(request, answer)
        except ServingError as error:
            answer(self._failed(error))

    def refuse_early(self, request: HttpRequest) -> HttpResponse | None:
        """Return the answer to a request that waits to send its body, if it is an error whatever the body is."""
        path = request.path
        if path in ("/healthz", METRICS_PATH) or path.startswith("/readyz"):
            return None
        if self.tokens and not self.tokens.allow(request.headers.get("authorization", "")):
            return _unauthenticated()
        if not _is_api(path):
            return _no_such_path(request)
        try:
            _route(request)
        except ServingError as error:
            return self._failed(error)
        return None

    def _api(self, request: HttpRequest, answer: Answer) -> None:
        target, photos = _route(request)
        if target.method == "status":
            answer(HttpResponse(200, status_reply(self.repository.status(target.model, target.version))))
            return
        target = choose_by_channel(target, request.headers.get(CHANNEL_HEADER), self.repository)
        if target.method == "metadata":
            servable = self.repository.acquire(target.model, target.version, target.label)
            try:
                answer(HttpResponse(200, metadata_reply(target.model, servable.number, servable.signatures)))
            finally:
                servable.release()
        elif target.method in DESCRIPTIONS:
            answer(describe(target, self.repository, self.is_ready))
        else:
            self._begin(request, target, photos, answer)

    def _health(self, path: str) -> HttpResponse:
        if path == "/healthz":
            return HttpResponse(200, b'{"healthy": true}\n')
        model = path[len("/readyz/") :] or None if path.startswith("/readyz/") else None
        ready = self.is_ready(model)
        document: dict[str, Any] = {"ready": ready, "models": self.repository.problems(model)}
        if warnings := self.repository.warnings(model):
            document["warnings"] = warnings
        if self.repository.config_problem:
            document["config"] = self.repository.config_problem
        if self.draining:
            document["draining"] = True
        return HttpResponse(200 if ready else 503, orjson.dumps(document) + b"\n")

    def _metrics(self, request: HttpRequest) -> HttpResponse:
        metrics = self.metrics
        metrics.update(self.repository.snapshots, self.repository.problems())
        metrics.in_flight.set(self.predictions.in_flight)
        metrics.waiting.set(self.pool.waiting)
        metrics.connections.set(self.predictions.connections())
        return HttpResponse(200, *metrics.registry.page(request.headers.get("accept", "")))

    # predictions

    def _begin(self, request: HttpRequest, target: RequestTarget, photos: PhotoRequest | None, answer: Answer) -> None:
        in_flight = InFlightRequest(
            target.model, _API[target.method], "REST", request.begin, partial(self._respond, answer), request.id
        )
        if self.capture is not None and self.capture.chooses():
            in_flight.sample = self.capture.sample(request.headers, request.remote, request.id, target.label)
        deadline = request.begin + self.options.timeout_s
        if photos:
            read_photos = partial(self._photos, request.body, target, photos)
            self.predictions.begin(in_flight, read_photos, deadline, large=photos.is_large(len(request.body)))
            return
        nulls = _wants_nulls(request)
        large = len(request.body) > _LARGE_BODY
        if large and is_heavy_body(request.body):
            self.predictions.begin_heavy(in_flight, partial(self._read_heavy, request.body, target, nulls), deadline)
            return
        read = partial(self._readers[target.method], request.body, target, nulls)
        self.predictions.begin(in_flight, read, deadline, large=large)

    def _read_heavy(
        self, body: bytes | bytearray, target: RequestTarget, nulls: bool, in_flight: InFlightRequest
    ) -> Read:
        """Do what the readers below do, in the same order, by the JSON process."""
        process = self.predictions.json_process
        if target.method == "infer":
            head = process.open_inference(body, self.options.max_values)
            return self._inference(in_flight, target, head, process.tensors_of_inference)
        name = process.open_body(body, self.options.max_values, examples=target.method in _EXAMPLES)
        if target.method == "predict":
            servable = self._acquire(in_flight, target)
            signature = servable.signature(name)
            feeds = process.tensors_of_body(signature.inputs, signature.defaults)
            queue = servable.predict_queue(name)
            return queue, queue.feed_values(feeds.tensors), partial(predict_reply, rows=feeds.rows, nulls=nulls)
        examples = process.examples_of_body()
        servable, count = self._acquire(in_flight, target), len(examples)
        if target.method == "classify":
            return servable.classify_queue(name), [examples], partial(classify_reply, examples=count, nulls=nulls)
        return servable.regress_queue(name), [examples], partial(regress_reply, examples=count, nulls=nulls)

    def _acquire(self, in_flight: InFlightRequest, target: RequestTarget) -> Servable:
        in_flight.servable = self.repository.acquire(target.model, target.version, target.label)
        return in_flight.servable

    def _parse(self, body: bytes | bytearray, target: RequestTarget, nulls: bool) -> dict[str, Any]:
        try:
            return parse_body(body, self.options.max_values, _LENIENT_BODY, examples=target.method in _EXAMPLES)
        except SlowBodyError:
            raise HeavyBodyError(partial(self._read_heavy, body, target, nulls)) from None

    def _predict(self, body: bytes | bytearray, target: RequestTarget, nulls: bool, in_flight: InFlightRequest) -> Read:
        document = self._parse(body, target, nulls)
        name = read_signature_name(document)
        servable = self._acquire(in_flight, target)
        signature = servable.signature(name)
        feeds = read_inputs(document, signature.inputs, signature.defaults)
        queue = servable.predict_queue(name)
        return queue, queue.feed_values(feeds.tensors), partial(predict_reply, rows=feeds.rows, nulls=nulls)

    def _photos(
        self, body: bytes | bytearray, target: RequestTarget, photos: PhotoRequest, in_flight: InFlightRequest
    ) -> Read:
        """Read a body of photos, which the default signature answers."""
        bodies = photos.read(body)
        servable = self._acquire(in_flight, target)
        alias = photo_input(servable.signature(DEFAULT_SIGNATURE))
        if in_flight.sample is not None:
            in_flight.sample.alias = alias
        queue = servable.predict_queue(DEFAULT_SIGNATURE)
        by = AnsweredBy(target.model, servable.number, target.label)
        return queue, queue.feed_values({alias: as_strings(bodies)}), partial(photo_reply, by=by, top=photos.top)

    def _infer(self, body: bytes | bytearray, target: RequestTarget, nulls: bool, in_flight: InFlightRequest) -> Read:
        document = self._parse(body, target, nulls)
        return self._inference(in_flight, target, read_inference_head(document), partial(read_tensors, document))

    def _inference(
        self,
        in_flight: InFlightRequest,
        target: RequestTarget,
        head: InferenceHead,
        read: Callable[[dict[str, TensorInfo], dict[str, bytes]], dict[str, Array]],
    ) -> Read:
        servable = self._acquire(in_flight, target)
        signature = servable.signature(head.signature)
        head.check_outputs(signature.outputs)
        tensors = read(signature.inputs, signature.defaults)
        queue = servable.predict_queue(head.signature)
        by = AnsweredBy(target.model, servable.number, target.label)
        return queue, queue.feed_values(tensors), partial(inference_reply, by=by, head=head)

    def _classify(
        self, body: bytes | bytearray, target: RequestTarget, nulls: bool, in_flight: InFlightRequest
    ) -> Read:
        document = self._parse(body, target, nulls)
        name, examples = read_signature_name(document), read_examples(document)
        queue = self._acquire(in_flight, target).classify_queue(name)
        return queue, [examples], partial(classify_reply, examples=len(examples), nulls=nulls)

    def _regress(self, body: bytes | bytearray, target: RequestTarget, nulls: bool, in_flight: InFlightRequest) -> Read:
        document = self._parse(body, target, nulls)
        name, examples = read_signature_name(document), read_examples(document)
        queue = self._acquire(in_flight, target).regress_queue(name)
        return queue, [examples], partial(regress_reply, examples=len(examples), nulls=nulls)

    def _respond(self, answer: Answer, in_flight: InFlightRequest, result: bytes | ServingError) -> None:
        if isinstance(result, ServingError):
            answer(self._failed(result))
        else:
            servable = in_flight.servable
            answer(HttpResponse(200, result, log_fields={"version": servable.number} if servable else {}))

    def _failed(self, error: ServingError) -> HttpResponse:
        if error.http_status in (413, 429, 503, 504):
            self.metrics.refused.add(str(error.http_status))
        headers = () if error.retry_after is None else (("Retry-After", str(error.retry_after)),)
        body = b"" if isinstance(error, EmptyError) else error_reply(error.message)
        return HttpResponse(error.http_status, body, headers=headers, log_fields={"error": error.message[:200]})


def _target_of(request: HttpRequest) -> str:
    """Return path and query: TF Serving matches them together."""
    return request.path if request.query is None else f"{request.path}?{request.query}"


def _is_api(path: str) -> bool:
    return is_api_path(path) or is_open_inference_path(path)


def _route_inference(request: HttpRequest) -> RequestTarget:
    """Return the target of a path of the Open Inference Protocol. Raises `ServingError`."""
    target = parse_open_inference_path(request.method, request.path)
    if BINARY_HEADER in request.headers and target.method == "infer":
        raise no_binary_tensors()
    if target.method == "infer" and is_binary(request.headers.get("content-type", "")):
        text = "…/infer takes JSON; photos and forms go to /v1/models/NAME:predict"
        raise ServingError(StatusCode.INVALID_ARGUMENT, text, http_status=415)
    return target


def _route(request: HttpRequest) -> tuple[RequestTarget, PhotoRequest | None]:
    """Return the target, and what is known of photos if the body is not JSON. Raises `ServingError`."""
    if is_open_inference_path(request.path):
        return _route_inference(request), None
    content_type = request.headers.get("content-type", "")
    if request.method != "POST" or not is_binary(content_type):
        return parse_path(request.method, _target_of(request)), None
    target = parse_path(request.method, request.path)
    return target, read_photo_head(target.method, content_type, request.query)


def _wants_nulls(request: HttpRequest) -> bool:
    """Whether the client wants null instead of NaN and infinities. Raises `ServingError` for an unknown value."""
    value = request.headers.get(NON_FINITE)
    if value not in (None, "null"):
        raise invalid(f"The header X-Orchard-Non-Finite may only be null, not {value}")
    return value is not None


def _unauthenticated() -> HttpResponse:
    return HttpResponse(
        401, error_reply("The request needs a valid bearer token"), headers=(("WWW-Authenticate", "Bearer"),)
    )


def _no_such_path(request: HttpRequest) -> HttpResponse:
    if request.path == "*" and request.method == "OPTIONS":  # about the server, not about a path: RFC 9110, 9.3.7
        return HttpResponse(200, b"", headers=(("Allow", "GET, HEAD, POST, OPTIONS"),))
    return HttpResponse(404, _NOT_FOUND, "text/html")


def _options(request: HttpRequest) -> HttpResponse:
    origin = request.headers.get("origin", "")
    if origin.startswith(("http://", "https://")):
        return HttpResponse(200, b"")
    return HttpResponse(400, error_reply(f"Malformed request: OPTIONS {request.path}"))
