"""The table of the server's routes: what of it is the Open Inference Protocol's is routed by it, all of it is described by it.

TF Serving's paths are parsed by `serving.server.rest.paths`, in TF Serving's words; a test holds both together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from serving.server.rest.paths import RequestTarget
from serving.server.serving_error import ServingError, invalid
from serving.status_codes import StatusCode

__all__ = ["OPENAPI_PATH", "ROUTES", "ApiRoute", "is_open_inference_path", "parse_open_inference_path"]

OPENAPI_PATH = "/openapi.json"
_CHOICES = ("", "/versions/{version}", "/labels/{label}")
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A route.

    Attributes:
        method: `GET` or `POST`.
        path: the path, with the names of its variable parts in braces.
        kind: what it does, as in `RequestTarget.method`.
        summary: what it does, in a sentence.
        answer: the schema of its answer, see `serving.server.rest.api_schemas`; "": it is text.
        body: the schema of the JSON that it takes; "": none.
    """

    method: str
    path: str
    kind: str
    summary: str
    answer: str
    body: str = ""


def _models(method: str, end: str, kind: str, summary: str, answer: str, body: str = "") -> list[ApiRoute]:
    """The routes of TF Serving that name a model: the latest version, a version, a label."""
    return [ApiRoute(method, f"/v1/models/{{model}}{choice}{end}", kind, summary, answer, body) for choice in _CHOICES]


def _inference(method: str, end: str, kind: str, summary: str, answer: str, body: str = "") -> list[ApiRoute]:
    """The routes of the Open Inference Protocol that name a model: with and without a version."""
    choices = _CHOICES[:2]
    return [ApiRoute(method, f"/v2/models/{{model}}{choice}{end}", kind, summary, answer, body) for choice in choices]


ROUTES: tuple[ApiRoute, ...] = (
    *_models("POST", ":predict", "predict", "Predict by JSON, or by photos as they are", "Predictions", "Predict"),
    *_models("POST", ":classify", "classify", "Classify examples", "Results", "Examples"),
    *_models("POST", ":regress", "regress", "Return a number for each example", "Results", "Examples"),
    *_models("GET", "", "status", "The versions of a model and their states", "Status"),
    *_models("GET", "/metadata", "metadata", "The signatures of a version", "Metadata"),
    ApiRoute("GET", "/v2", "server", "Name and version of the server", "Server"),
    ApiRoute("GET", "/v2/health/live", "live", "Whether the server runs", "Live"),
    ApiRoute("GET", "/v2/health/ready", "ready", "Whether every model is served as configured", "Ready"),
    *_inference("GET", "", "model", "Inputs and outputs of a version's signature serving_default", "Model"),
    *_inference("GET", "/ready", "model_ready", "Whether a version answers", "ModelReady"),
    *_inference("POST", "/infer", "infer", "Predict by tensors", "Inference", "InferenceRequest"),
    ApiRoute("GET", OPENAPI_PATH, "openapi", "This description", "Description"),
    ApiRoute("GET", "/healthz", "healthz", "Whether the server runs; without a token", "Healthy"),
    ApiRoute("GET", "/readyz", "readyz", "Whether every model is served as configured, and why not; without a token", "Readiness"),
    ApiRoute("GET", "/readyz/{model}", "readyz", "The same of one model; without a token", "Readiness"),
    ApiRoute("GET", "/monitoring/prometheus/metrics", "metrics", "Figures for Prometheus", ""),
)  # fmt: skip


def is_open_inference_path(path: str) -> bool:
    """Whether a path belongs to the Open Inference Protocol, or is that of the API's description."""
    return path == "/v2" or path.startswith("/v2/") or path == OPENAPI_PATH


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    return re.compile(
        "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    )


_PATTERNS = [(_pattern(route.path), route) for route in ROUTES if is_open_inference_path(route.path)]


@lru_cache(maxsize=64)
def parse_open_inference_path(method: str, path: str) -> RequestTarget:
    """Parse a path for which `is_open_inference_path` holds.

    Args:
        method: HTTP's method; HEAD is read as GET.
        path: the path as received, percent-encoded, without the query, which the protocol does not have.

    Raises:
        ServingError: NOT_FOUND for an unknown path or a version that cannot be one; INVALID_ARGUMENT for another method.
    """
    matches = [(match, route) for pattern, route in _PATTERNS if (match := pattern.fullmatch(path))]
    if not matches:
        raise ServingError(StatusCode.NOT_FOUND, f"No such path: {path[:200]}; GET {OPENAPI_PATH} lists all")
    match, route = matches[0]
    if route.method != ("GET" if method == "HEAD" else method):
        raise invalid(f"Malformed request: {method} {path[:200]}; this path takes {route.method}")
    parts = {
        name: unquote_to_bytes(text).decode("utf-8", "surrogateescape") for name, text in match.groupdict().items()
    }
    model, version = parts.get("model", ""), parts.get("version")
    return RequestTarget(model, None if version is None else _number(model, version), None, route.kind)


def _number(model: str, version: str) -> int:
    if not (version.isascii() and version.isdigit() and len(version) <= 19 and int(version) <= _LARGEST):
        text = f"Could not find version {version[:64]} of model {model}: a version is a number"
        raise ServingError(StatusCode.NOT_FOUND, text)
    return int(version)
