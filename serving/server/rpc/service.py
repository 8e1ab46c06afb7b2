"""The gRPC services PredictionService and ModelService, with the same models, threads and limits as REST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import grpc  # type: ignore[import-untyped]

from orchard.request_headers import CHANNEL_HEADER
from serving.http.request_head import REQUEST_ID
from serving.models_config import ConfigError, read_models
from serving.protos import STATES, message, method_types
from serving.server.access_log import AccessLog
from serving.server.application import Application
from serving.server.capture.capture_sample import CaptureSample
from serving.server.channel_header import specify_channel
from serving.server.predictions import InFlightRequest, Read
from serving.server.rpc.requests import (
    check_tasks,
    classification_reply,
    fill_signature,
    fill_spec,
    predict_feeds,
    prediction_reply,
    read_examples,
    regression_reply,
)
from serving.server.servable import Servable
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode
from serving.tokens import BearerTokens

__all__ = ["GrpcService"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MESSAGE_BYTES = 1024
"""TF Serving cuts an error's message after so many bytes."""

_RELOAD_S = 0.05
_PREFIX = "tensorflow.serving."
Handler = Callable[[Any, float], Awaitable[Any]]


def _cut(text: str) -> str:
    body = text.encode("utf-8", "surrogateescape")
    if len(body) > _MESSAGE_BYTES:
        body = body[:_MESSAGE_BYTES] + b"...TRUNCATED"
    return body.decode("utf-8", "replace")  # gRPC's messages are UTF-8


def _hold(servable: Servable) -> Servable:
    """Hold a version once more: a run may outlive the request that started it."""
    if not servable.acquire():
        text = f"Servable not found for request: Specific({servable.model}, {servable.number})"
        raise ServingError(StatusCode.NOT_FOUND, text)
    return servable


def _channel_of(context: Any) -> str | None:
    """Return the channel in a call's metadata, or None. Of a repeated key the last one counts, as in REST."""
    value = dict(context.invocation_metadata() or ()).get(CHANNEL_HEADER)
    return None if value is None else str(value)


def _request_id(metadata: Mapping[str, Any]) -> str:
    """Return the request's id in a call's metadata; empty: it has none that is safe to store."""
    value = str(metadata.get("x-request-id", ""))
    return value if REQUEST_ID.fullmatch(value) else ""


async def _refuse(request: bytes, deadline: float) -> None:
    raise ServingError(StatusCode.UNAUTHENTICATED, "The request needs a valid bearer token")


class _GrpcMethods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call. Without a valid token it is one that refuses, and the message is never parsed."""

    def __init__(self, methods: Mapping[str, Any], refusals: Mapping[str, Any], tokens: BearerTokens | None) -> None:
        self._methods = methods
        self._refusals = refusals
        self._tokens = tokens

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a call; None: there is no such method."""
        handler = self._methods.get(handler_call_details.method)
        if handler is None or self._tokens is None:
            return handler
        authorization = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
        return handler if self._tokens.allow(str(authorization)) else self._refusals[handler_call_details.method]


class GrpcService:
    """The two services' methods.

    Args:
        application: the application whose models, threads, limits and metrics they share.
        loop: the event loop in whose thread they run.
        access_log: logs the calls; None: they are not logged.
    """

    def __init__(
        self, application: Application, loop: asyncio.AbstractEventLoop, access_log: AccessLog | None = None
    ) -> None:
        self._application = application
        self._loop = loop
        self._access_log = access_log
        self._handlers: dict[str, dict[str, Handler]] = {
            "PredictionService": {
                "Predict": self._predict,
                "Classify": self._classify,
                "Regress": self._regress,
                "GetModelMetadata": self._metadata,
                "MultiInference": self._multi,
            },
            "ModelService": {"GetModelStatus": self._status, "HandleReloadConfigRequest": self._reload},
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The services' full names."""
        return tuple(_PREFIX + name for name in self._handlers)

    def handler(self) -> grpc.GenericRpcHandler:
        """The services as a handler for the gRPC server."""
        methods, refusals = {}, {}
        for service, handlers in self._handlers.items():
            for method, (request, response) in method_types(service).items():
                path = f"/{_PREFIX}{service}/{method}"
                methods[path] = grpc.unary_unary_rpc_method_handler(
                    self._guarded(path, handlers[method]), request.FromString, response.SerializeToString
                )
                refusals[path] = grpc.unary_unary_rpc_method_handler(self._guarded(path, _refuse))
        return _GrpcMethods(methods, refusals, self._application.tokens)

    def _guarded(self, path: str, handler: Handler) -> Callable[[Any, Any], Awaitable[Any]]:
        timeout_s = self._application.options.timeout_s
        takes_channel = path.startswith(f"/{_PREFIX}PredictionService/")
        takes_photos = path.endswith("/Predict")

        async def call(request: Any, context: Any) -> Any:
            begin, remaining_s = time.monotonic(), context.time_remaining()
            answer: Any = StatusCode.UNKNOWN, "unexpected error"
            try:
                if takes_channel and request is not None:
                    specify_channel(request, _channel_of(context), self._application.repository)
                deadline = begin + (timeout_s if remaining_s is None else min(remaining_s, timeout_s))
                sample = self._sample(request, context) if takes_photos and request is not None else None
                answer = await (self._predict(request, deadline, sample) if sample else handler(request, deadline))
                return answer
            except ServingError as error:
                answer = error.code, error.message
                await context.abort(_CODES[error.code.value], _cut(error.message))
            except asyncio.CancelledError:
                answer = StatusCode.CANCELLED, "the client disconnected or its deadline passed"
                raise
            finally:
                if self._access_log:
                    self._access_log.grpc(path, context.peer(), request, answer, begin)

        return call

    # PredictionService

    def _acquire(self, request: Any) -> Servable:
        """Hold the version of a request. Raises `ServingError` in TF Serving's words."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        return self._acquire_of(request.model_spec)

    def _acquire_of(self, spec: Any) -> Servable:
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        chosen = spec.WhichOneof("version_choice")
        return self._application.repository.acquire(
            spec.name,
            spec.version.value if chosen == "version" else None,
            spec.version_label if chosen == "version_label" else None,
        )

    def _sample(self, request: Any, context: Any) -> CaptureSample | None:
        """Begin to capture a call, if it is chosen."""
        capture = self._application.capture
        if capture is None or not capture.chooses():
            return None
        metadata = dict(context.invocation_metadata() or ())
        channel = request.model_spec.version_label or None
        return capture.sample(metadata, context.peer(), _request_id(metadata), channel)

    async def _run(
        self,
        spec: Any,
        api: str,
        read: Callable[[InFlightRequest], Read],
        deadline: float,
        sample: CaptureSample | None = None,
    ) -> Any:
        """Run a request in the pool; returns the answer. Raises `ServingError`."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def respond(in_flight: InFlightRequest, answer: Any) -> None:
            if not future.done():
                future.set_result(answer)

        in_flight = InFlightRequest(spec.name, api, "GRPC", time.monotonic(), respond, sample=sample)
        self._application.predictions.begin(in_flight, read, deadline)
        try:
            answer = await future
        except asyncio.CancelledError:  # the client disconnected, or its deadline passed
            in_flight.done = True
            raise
        if isinstance(answer, ServingError):
            raise answer
        return answer

    async def _predict(self, request: Any, deadline: float, sample: CaptureSample | None = None) -> Any:
        spec = request.model_spec

        def read(in_flight: InFlightRequest) -> Read:
            servable = in_flight.servable = self._acquire(request)
            queue, values, aliases = predict_feeds(servable, request)
            return queue, values, partial(prediction_reply, servable, spec.signature_name, aliases)

        return await self._run(spec, "Predict", read, deadline, sample)

    async def _examples(
        self, spec: Any, source: Any, api: str, deadline: float, acquire: Callable[[], Servable]
    ) -> Any:
        """Run a classification or regression signature on an Input; returns its response message."""

        def read(in_flight: InFlightRequest) -> Read:
            servable = in_flight.servable = acquire()
            queue = (servable.classify_queue if api == "Classify" else servable.regress_queue)(spec.signature_name)
            examples = read_examples(source)
            reply = classification_reply if api == "Classify" else regression_reply
            return queue, [examples], partial(reply, servable, spec.signature_name, len(examples))

        return await self._run(spec, api, read, deadline)

    async def _classify(self, request: Any, deadline: float) -> Any:
        acquire = partial(self._acquire, request)
        return await self._examples(request.model_spec, request.input, "Classify", deadline, acquire)

    async def _regress(self, request: Any, deadline: float) -> Any:
        acquire = partial(self._acquire, request)
        return await self._examples(request.model_spec, request.input, "Regress", deadline, acquire)

    async def _multi(self, request: Any, deadline: float) -> Any:
        """Run all tasks on the version of the first one."""
        response = message("MultiInferenceResponse")()
        servable = self._acquire_of(request.tasks[0].model_spec if request.tasks else message("ModelSpec")())
        try:
            for task, (api, field) in zip(request.tasks, check_tasks(servable, request.tasks), strict=True):
                answer = await self._examples(task.model_spec, request.input, api, deadline, partial(_hold, servable))
                result = response.results.add()
                result.model_spec.CopyFrom(answer.model_spec)
                getattr(result, field).CopyFrom(answer.result)
            return response
        finally:
            servable.release()

    async def _metadata(self, request: Any, deadline: float) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":  # TF Serving does not replace the %s either
                raise invalid(f"Metadata field %s is not supported{name}")
        servable = self._acquire(request)
        try:
            response = message("GetModelMetadataResponse")()
            fill_spec(response.model_spec, servable, "")
            definitions = message("SignatureDefMap")()
            fill_signature(servable.signatures, definitions)
            response.metadata["signature_def"].Pack(definitions)
            return response
        finally:
            servable.release()

    # ModelService

    async def _status(self, request: Any, deadline: float) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = message("GetModelStatusResponse")()
        for number, state, code, text in self._application.repository.status(spec.name, version):
            row = response.model_version_status.add(version=number, state=STATES[state])
            row.status.error_code, row.status.error_message = code.value, text
        return response

    async def _reload(self, request: Any, deadline: float) -> Any:
        """Apply a configuration until the file changes, and wait until all of it is served or cannot be."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported"
            )
        listed = request.config.model_config_list.config
        names = [config.name for config in listed]
        for name in names:
            if names.count(name) > 1:
                raise invalid(f"Illegal to list model {name} multiple times in config list")
        try:
            configs = read_models(listed)
        except ConfigError as error:
            raise invalid(error.message) from None
        repository = self._application.repository
        repository.replace(configs)
        response = message("ReloadConfigResponse")()
        while (pending := repository.is_pending(names)) and time.monotonic() < deadline:
            await asyncio.sleep(_RELOAD_S)
        problems = repository.problems()
        reasons = [f"{name}: {reason}" for name in names for reason in problems.get(name, ())]
        if pending or reasons:
            code = StatusCode.DEADLINE_EXCEEDED if pending else StatusCode.UNKNOWN
            response.status.error_code = code.value
            response.status.error_message = f"Some models did not become available: {{{', '.join(reasons or names)}}}"
        return response
