"""`GET /openapi.json`: valid, and the same routes as the server's."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from serving.server.rest.api_routes import ROUTES
from serving.server.rest.paths import parse_path
from serving.server.serving_error import ServingError

PARTS = {"{model}": "half_plus_two", "{version}": "123", "{label}": "stable"}
INFER = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
BODIES = {"Predict": {"instances": [1.0]}, "Examples": {"examples": [{"x": [1.0]}]}, "InferenceRequest": INFER}
SIGNATURES = {"classify": "classify_x_to_y", "regress": "regress_x_to_y"}


def filled(path: str) -> str:
    for name, value in PARTS.items():
        path = path.replace(name, value)
    return path


@pytest.fixture(scope="module")
def described(server) -> dict:
    found = server.get("/openapi.json")
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    return found.json


def test_the_description_is_valid(described):
    assert described["openapi"] == "3.1.0"
    assert not list(OpenAPIV31SpecValidator(described).iter_errors())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_described_path_is_answered(server, described, route):
    operation = described["paths"][route.path][route.method.lower()]
    body = None if not route.body else {"signature_name": SIGNATURES.get(route.kind, ""), **BODIES[route.body]}

    found = server.send_request(route.method, filled(route.path), body)

    assert found.status == 200, found.body
    (media,) = operation["responses"]["200"]["content"]
    assert found.headers["content-type"].startswith(media)
    if route.answer:
        schema = described["components"]["schemas"][route.answer]
        assert set(schema.get("required", ())) <= set(found.json)


def test_every_route_of_the_server_is_described(described):
    answered = set()
    for choice in ("", "/versions/{version}", "/labels/{label}"):
        for method, ends in (("GET", ("", "/metadata")), ("POST", (":predict", ":classify", ":regress"))):
            for end in ends:
                path = f"/v1/models/{{model}}{choice}{end}"
                target = parse_path(method, filled(path))
                answered.add((path, method.lower(), target.method))

    found = {(route.path, route.method.lower(), route.kind) for route in ROUTES if route.path.startswith("/v1/")}

    assert found == answered
    everything = {(path, method) for path, item in described["paths"].items() for method in item}
    assert everything == {(route.path, route.method.lower()) for route in ROUTES}


def test_nothing_but_the_described_routes_is_served(server):
    """Each route with one more segment, and with its last one missing, is another route or none."""
    known = {re.sub(r"\{\w+\}", "X", route.path) for route in ROUTES}
    for route in ROUTES:
        for path in (f"{route.path}/more", route.path.rpartition("/")[0]):
            if re.sub(r"\{\w+\}", "X", path) in known or route.kind == "readyz":
                continue
            assert server.get(filled(path) or "/").status in (400, 404), path
    with pytest.raises(ServingError):
        parse_path("DELETE", "/v1/models/m")
