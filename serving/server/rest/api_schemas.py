"""The JSON Schemas of the API's bodies and answers, by the names that `serving.server.rest.api_routes` has."""

from __future__ import annotations

from typing import Any

from serving.server.rest.tensor_names import DATATYPES

__all__ = ["SCHEMAS"]

_Schema = dict[str, Any]


def _object(_required: str = "", **members: _Schema) -> _Schema:
    """An object; it may have other members too."""
    found: _Schema = {"type": "object", "properties": members}
    return {**found, "required": _required.split()} if _required else found


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _as(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _map(values: _Schema) -> _Schema:
    return {"type": "object", "additionalProperties": values}


_TEXT: _Schema = {"type": "string"}
_FLAG: _Schema = {"type": "boolean"}
_WHOLE: _Schema = {"type": "integer"}
_ANY: _Schema = {}
_SHAPE = _list({"type": "integer", "minimum": 0})
_NAMED_TENSOR = {"name": _TEXT, "datatype": _as("Datatype"), "shape": _SHAPE, "parameters": _as("Parameters")}

SCHEMAS: dict[str, _Schema] = {
    "Error": _object("error", error=_TEXT),
    "Predict": {
        **_object(signature_name=_TEXT, instances=_list(_ANY), inputs=_ANY),
        "description": 'One of instances (rows) and inputs (columns); bytes are {"b64": "…"}',
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "Predictions": {
        **_object(predictions=_list(_ANY), outputs=_ANY, model=_TEXT, version=_WHOLE, channel=_TEXT),
        "description": "predictions for instances, outputs for inputs; model, version and channel for photos as they are",
    },
    "Examples": _object(
        "examples", signature_name=_TEXT, context={"type": "object"}, examples=_list({"type": "object"})
    ),
    "Results": _object("results", results=_list(_ANY)),
    "Status": _object(
        "model_version_status",
        model_version_status=_list(
            _object("version state", version=_TEXT, state=_TEXT, status=_object(error_code=_TEXT, error_message=_TEXT))
        ),
    ),
    "Metadata": _object("model_spec metadata", model_spec=_object(name=_TEXT, version=_TEXT), metadata=_object()),
    "Server": _object("name version extensions", name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "Live": _object("live", live=_FLAG),
    "Ready": _object("live ready", live=_FLAG, ready=_FLAG),
    "ModelReady": _object("name ready", name=_TEXT, ready=_FLAG),
    "Model": _object(
        "name versions platform inputs outputs",
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=_list(_as("TensorDescription")),
        outputs=_list(_as("TensorDescription")),
    ),
    "TensorDescription": _object("name datatype shape", name=_TEXT, datatype=_TEXT, shape=_list(_WHOLE)),
    "Datatype": {
        "type": "string",
        "enum": list(DATATYPES),
    },
    "Parameters": {
        **_map({"type": ["string", "number", "boolean"]}),
        "description": "signature_name (of a request), content_type (of BYTES: str, or base64)",
    },
    "InferenceRequest": _object(
        "inputs",
        id=_TEXT,
        parameters=_as("Parameters"),
        inputs=_list(_object("name datatype shape data", **_NAMED_TENSOR, data=_list(_ANY))),
        outputs=_list(_object("name", name=_TEXT, parameters=_as("Parameters"))),
    ),
    "Inference": _object(
        "model_name model_version outputs",
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        outputs=_list(_object("name datatype shape data", **_NAMED_TENSOR, data=_list(_ANY))),
    ),
    "Description": {"type": "object"},
    "Healthy": _object("healthy", healthy=_FLAG),
    "Readiness": _object("ready models", ready=_FLAG, models=_map(_list(_TEXT)), warnings=_map(_list(_TEXT))),
}
