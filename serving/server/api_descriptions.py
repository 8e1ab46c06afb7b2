"""Answers to questions about server and models in the Open Inference Protocol, and the API's description."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from serving.http.http_messages import HttpResponse
from serving.server.model_repository import ModelRepository
from serving.server.rest.api_description import api_description
from serving.server.rest.inference_replies import model_reply, server_reply
from serving.server.rest.paths import RequestTarget
from serving.server.serving_error import ServingError

__all__ = ["DESCRIPTIONS", "describe"]


def describe(target: RequestTarget, repository: ModelRepository, is_ready: Callable[[], bool]) -> HttpResponse:
    """Answer one of `DESCRIPTIONS`.

    Args:
        target: what is asked for.
        repository: the loaded models.
        is_ready: whether every model is served as configured.

    Raises:
        ServingError: there is no such model or version, or it has no signature serving_default.
    """
    return DESCRIPTIONS[target.method](target, repository, is_ready)


def _model(target: RequestTarget, repository: ModelRepository, _: Callable[[], bool]) -> HttpResponse:
    servable = repository.acquire(target.model, target.version, target.label)
    try:
        versions = sorted(repository.snapshots[target.model].available)
        return HttpResponse(200, model_reply(target.model, versions, servable.signature("")))
    finally:
        servable.release()


def _model_ready(target: RequestTarget, repository: ModelRepository, _: Callable[[], bool]) -> HttpResponse:
    """Whether a version answers: what has begun to load, or failed, does not; what is unknown is an error."""
    try:
        repository.acquire(target.model, target.version, target.label).release()
        ready = True
    except ServingError:
        if target.label is None:
            repository.status(target.model, target.version)
        ready = False
    name = target.model.encode("utf-8", "replace").decode()
    return HttpResponse(200 if ready else 503, orjson.dumps({"name": name, "ready": ready}))


def _ready(_: RequestTarget, __: ModelRepository, is_ready: Callable[[], bool]) -> HttpResponse:
    """The specification's text calls the member live, its OpenAPI file ready."""
    ready = is_ready()
    return HttpResponse(200 if ready else 503, orjson.dumps({"live": True, "ready": ready}))


DESCRIPTIONS: dict[str, Callable[[RequestTarget, ModelRepository, Callable[[], bool]], HttpResponse]] = {
    "server": lambda *_: HttpResponse(200, server_reply()),
    "live": lambda *_: HttpResponse(200, orjson.dumps({"live": True})),
    "ready": _ready,
    "model": _model,
    "model_ready": _model_ready,
    "openapi": lambda *_: HttpResponse(200, api_description()),
}
"""By `RequestTarget.method`."""
