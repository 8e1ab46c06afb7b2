"""PredictionService and ModelService, on the same models, workers and limits as REST."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc  # type: ignore[import-untyped]

from serving.configuration import All as Every
from serving.configuration import ConfigError, Latest, ModelConfig, Policy, Specific
from serving.server.application import Application
from serving.server.batching import Job, Lane, Outcome, Outputs
from serving.server.rpc.messages import message, method_types
from serving.server.rpc.requests import (
    fill_classification,
    fill_prediction,
    fill_regression,
    fill_signature,
    fill_spec,
    predict_feeds,
    read_examples,
)
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.status import Code, ServingError, invalid

__all__ = ["Service"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
_RELOAD_S = 0.05
_PREFIX = "tensorflow.serving."
Handler = Callable[[Any, float], Awaitable[Any]]


class Service:
    """The two services' methods.

    Args:
        application: whose models, workers, limits and metrics they share.
        loop: the event loop in whose thread they run.
    """

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._application = application
        self._loop = loop
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

    def handlers(self) -> list[Any]:
        """The services as gRPC's server takes them."""
        return [
            grpc.method_handlers_generic_handler(
                _PREFIX + service,
                {
                    method: grpc.unary_unary_rpc_method_handler(
                        self._guarded(self._handlers[service][method]), request.FromString, response.SerializeToString
                    )
                    for method, (request, response) in method_types(service).items()
                },
            )
            for service in self._handlers
        ]

    def _guarded(self, handler: Handler) -> Callable[[Any, Any], Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            application = self._application
            tokens = application.tokens
            given = dict(context.invocation_metadata() or ()).get("authorization", "")
            if tokens and not tokens.allow(str(given)):
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The request needs a valid bearer token")
            left = context.time_remaining()
            most = application.options.timeout_s
            try:
                return await handler(request, time.monotonic() + (most if left is None else min(left, most)))
            except ServingError as error:
                await context.abort(_CODES[error.code.value], error.message)

        return call

    # PredictionService

    def _acquire(self, spec: Any) -> Servable:
        if not spec.name:
            raise invalid("Missing ModelSpec")
        version = spec.version.value if spec.HasField("version") else None
        return self._application.catalogue.acquire(spec.name, version, spec.version_label or None)

    async def _run(self, servable: Servable, lane: Lane, values: list[Any], deadline: float, api: str) -> Outputs:
        """Let a job wait for a worker, and for its outcome."""
        begin = time.monotonic()
        waiting: asyncio.Future[Outcome] = self._loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not waiting.done():
                waiting.set_result(outcome)

        def finish(outcome: Outcome) -> None:
            servable.release()  # in the worker: its run outlives a caller that waits no more
            try:
                self._loop.call_soon_threadsafe(settle, outcome)
            except RuntimeError:  # the loop is closed: the process ends
                return

        job = Job(lane, values, deadline, finish)
        with self._application.admitted():
            servable.share()
            try:
                self._application.submit(job)
            except ServingError:
                servable.release()
                raise
            try:
                outcome = await asyncio.wait_for(waiting, max(0.0, deadline - begin))
            except TimeoutError as error:
                raise ServingError(Code.DEADLINE_EXCEEDED, "Deadline exceeded") from error
        if isinstance(outcome, ServingError):
            raise outcome
        self._application.measure(servable.model, api, "GRPC", time.monotonic() - begin, job.run_us)
        return outcome

    async def _counted(self, spec: Any, work: Callable[[Servable], Awaitable[Any]]) -> Any:
        try:
            servable = self._acquire(spec)
            try:
                return await work(servable)
            finally:
                servable.release()
        except ServingError as error:
            self._application.count(spec.name, error.code)
            raise

    async def _predict(self, request: Any, deadline: float) -> Any:
        async def work(servable: Servable) -> Any:
            lane, values, aliases = predict_feeds(servable, request)
            outputs = await self._run(servable, lane, values, deadline, "Predict")
            response = message("PredictResponse")()
            fill_spec(
                response.model_spec, servable.model, servable, request.model_spec.signature_name or DEFAULT_SIGNATURE
            )
            fill_prediction(outputs, aliases, response)
            return response

        return await self._counted(request.model_spec, work)

    async def _examples(
        self, spec: Any, source: Any, api: str, deadline: float, fill: Callable[[Outputs, int], None]
    ) -> Servable:
        """Run a classification or regression signature on an Input and hand its outputs to `fill`."""

        async def work(servable: Servable) -> Servable:
            examples = read_examples(source)
            lane = (servable.classify_lane if api == "Classify" else servable.regress_lane)(spec.signature_name)
            fill(await self._run(servable, lane, [examples], deadline, api), len(examples))
            return servable

        found: Servable = await self._counted(spec, work)
        return found

    async def _classify(self, request: Any, deadline: float) -> Any:
        response, spec = message("ClassificationResponse")(), request.model_spec
        servable = await self._examples(
            spec, request.input, "Classify", deadline, partial(fill_classification, result=response.result)
        )
        fill_spec(response.model_spec, servable.model, servable, spec.signature_name or DEFAULT_SIGNATURE)
        return response

    async def _regress(self, request: Any, deadline: float) -> Any:
        response, spec = message("RegressionResponse")(), request.model_spec
        servable = await self._examples(
            spec, request.input, "Regress", deadline, partial(fill_regression, result=response.result)
        )
        fill_spec(response.model_spec, servable.model, servable, spec.signature_name or DEFAULT_SIGNATURE)
        return response

    async def _multi(self, request: Any, deadline: float) -> Any:
        response = message("MultiInferenceResponse")()
        if not request.tasks:
            raise invalid("Inference request must have at least one task")
        for task in request.tasks:
            result, spec = response.results.add(), task.model_spec
            if task.method_name == "tensorflow/serving/classify":
                fill = partial(fill_classification, result=result.classification_result)
                servable = await self._examples(spec, request.input, "Classify", deadline, fill)
            elif task.method_name == "tensorflow/serving/regress":
                fill = partial(fill_regression, result=result.regression_result)
                servable = await self._examples(spec, request.input, "Regress", deadline, fill)
            else:
                raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
            fill_spec(result.model_spec, servable.model, servable, spec.signature_name or DEFAULT_SIGNATURE)
        return response

    async def _metadata(self, request: Any, deadline: float) -> Any:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported")
        servable = self._acquire(request.model_spec)
        try:
            response = message("GetModelMetadataResponse")()
            fill_spec(response.model_spec, servable.model, servable, "")
            found = message("SignatureDefMap")()
            fill_signature(servable.signatures, found)
            response.metadata["signature_def"].Pack(found)
            return response
        finally:
            servable.release()

    # ModelService

    async def _status(self, request: Any, deadline: float) -> Any:
        spec = request.model_spec
        if not spec.name:
            raise invalid("Missing ModelSpec")
        version = spec.version.value if spec.HasField("version") else None
        response = message("GetModelStatusResponse")()
        for number, state, code, text in self._application.catalogue.status(spec.name, version):
            row = response.model_version_status.add(version=number, state=_STATES[state])
            row.status.error_code, row.status.error_message = code.value, text
        return response

    async def _reload(self, request: Any, deadline: float) -> Any:
        """Take over a configuration and wait until every model in it is available; the next change of the file counts again."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid("ModelServerConfig must name a model_config_list")
        configs = tuple(_config(item) for item in request.config.model_config_list.config)
        catalogue = self._application.catalogue
        catalogue.replace(configs)
        response = message("ReloadConfigResponse")()
        while time.monotonic() < deadline:
            problems = catalogue.problems()
            if not any(problems.get(config.name, ["?"]) for config in configs):
                return response
            await asyncio.sleep(_RELOAD_S)
        response.status.error_code = Code.DEADLINE_EXCEEDED.value
        response.status.error_message = f"Some models did not become available: {catalogue.problems()}"
        return response


def _config(proto: Any) -> ModelConfig:
    kind = proto.model_version_policy.WhichOneof("policy_choice")
    policy: Policy = Latest(max(1, proto.model_version_policy.latest.num_versions))
    if kind == "all":
        policy = Every()
    elif kind == "specific":
        policy = Specific(tuple(sorted(set(proto.model_version_policy.specific.versions))))
    if not proto.name or not proto.base_path:
        raise invalid(str(ConfigError("a config needs a name and a base_path")))
    return ModelConfig(proto.name, proto.base_path, policy, dict(proto.version_labels))
