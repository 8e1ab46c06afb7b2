"""The description of the API, in the form of OpenAPI 3.1, made from the table of the routes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson

from orchard import __version__
from orchard.request_headers import CHANNEL_HEADER, NO_CAPTURE_HEADER
from serving.server.rest.api_routes import ROUTES, ApiRoute
from serving.server.rest.api_schemas import SCHEMAS

__all__ = ["api_description"]

_PARTS: dict[str, dict[str, Any]] = {
    "model": {"description": "The model's name", "schema": {"type": "string"}},
    "version": {"description": "The number of a version", "schema": {"type": "integer", "minimum": 0}},
    "label": {"description": "A channel, or another label of the model", "schema": {"type": "string"}},
}
_OPEN = {"healthz", "readyz"}
"""What answers without a token."""
_UNREADY = {"ready", "readyz", "model_ready"}
_CHANNEL = {
    "name": CHANNEL_HEADER,
    "in": "header",
    "description": "The channel whose version answers, where the path names neither version nor label",
    "schema": {"type": "string"},
}
_NO_CAPTURE = {
    "name": NO_CAPTURE_HEADER,
    "in": "header",
    "description": "Forbids to store the photos of this request; any value",
    "schema": {"type": "string"},
}
_TOP = {
    "name": "top",
    "in": "query",
    "description": "With photos as they are: how many classes to name for each photo",
    "schema": {"type": "integer", "minimum": 1},
}
_PHOTOS: dict[str, Any] = {
    "image/jpeg": {},
    "image/png": {},
    "image/webp": {},
    "multipart/form-data": {"schema": {"type": "object", "additionalProperties": {"type": "string"}}},
}


@cache
def api_description() -> bytes:
    """Return the description as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Orchard's model server",
                "version": __version__,
                "description": "TF Serving's REST API, photos as they are, and the Open Inference Protocol",
            },
            "paths": paths,
            "components": {
                "schemas": SCHEMAS,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"bearer": []}, {}],  # a server without tokens accepts everybody
        }
    )


def _operation(route: ApiRoute) -> dict[str, Any]:
    names: list[str] = re.findall(r"\{(\w+)\}", route.path)
    parameters = [{"name": name, "in": "path", "required": True, **_PARTS[name]} for name in names]
    if "model" in names and not {"version", "label"} & set(names) and route.kind not in {"status", *_OPEN}:
        parameters.append(_CHANNEL)
    if route.kind in ("predict", "infer"):
        parameters.append(_NO_CAPTURE)
    if route.kind == "predict":
        parameters.append(_TOP)
    answer = {"application/json": _schema(route.answer)} if route.answer else {"text/plain": {}}
    responses: dict[str, Any] = {"200": {"description": route.summary, "content": answer}}
    if route.kind in _UNREADY:
        responses["503"] = {"description": "Not ready", "content": answer}
    responses["default"] = {
        "description": "An error; its status says what kind",
        "content": {"application/json": _schema("Error")},
    }
    operation: dict[str, Any] = {
        "operationId": "_".join([route.kind, *(name for name in names if name != "model" or route.kind in _OPEN)]),
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    }
    if route.kind in _OPEN:
        operation["security"] = []
    if route.body:
        photos = _PHOTOS if route.kind == "predict" else {}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": _schema(route.body), **photos},
        }
    return operation


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}
