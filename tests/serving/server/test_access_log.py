"""The access log: predictions and failures of both protocols, without polls."""

from __future__ import annotations

import json
from collections import Counter

import grpc
import pytest

from serving.http.http_messages import HttpRequest, HttpResponse
from serving.protos import message, method_types
from serving.server.access_log import AccessLog
from serving.status_codes import StatusCode
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, until

STATUS = "/v1/models/fruits"


class Lines:
    """A log that stores the fields of its events."""

    def __init__(self):
        self.fields = []

    def buffer(self, event, fields):
        self.fields.append(fields)


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def access(lines):
    return AccessLog(lines)


def get(access, path, status):
    access.http(HttpRequest("GET", path, None, {}, b"", "here", 0.0, "id"), HttpResponse(status, b""))


def test_a_poll_is_logged_when_its_status_changes(access, lines):
    for status in (200, 200, 404, 404, 404, 200, 200):
        get(access, STATUS, status)
    get(access, "/healthz", 200)
    get(access, "/readyz", 503)

    assert [(line["path"], line["status"]) for line in lines.fields] == [
        (STATUS, 404),
        (STATUS, 200),
        ("/readyz", 503),
    ]


def test_a_prediction_is_logged_each_time(access, lines):
    for _ in range(3):
        access.http(
            HttpRequest("POST", f"{STATUS}:predict", None, {}, b"{}", "here", 0.0, "id"), HttpResponse(200, b"")
        )

    assert len(lines.fields) == 3


def test_a_request_that_names_its_channel_is_logged_with_it(access, lines):
    for headers in ({}, {"x-orchard-channel": "shadow"}, {"x-orchard-channel": "x" * 1000}):
        request = HttpRequest("POST", f"{STATUS}:predict", None, headers, b"{}", "here", 0.0, "id")
        access.http(request, HttpResponse(200, b"", log_fields={"version": 2}))
    request_class, _ = method_types("PredictionService")["Predict"]
    spec = message("ModelSpec")(name="fruits", version_label="shadow")
    access.grpc("/Predict", "here", request_class(model_spec=spec), (StatusCode.NOT_FOUND, "no"), 0.0)

    assert [line.get("channel") for line in lines.fields] == [None, "shadow", "x" * 64, "shadow"]


def test_a_client_that_fails_under_many_names_is_not_remembered(access, lines):
    for index in range(1_000):
        get(access, f"{STATUS}-{index}", 404)
    get(access, f"{STATUS}-0", 404)

    assert len(lines.fields) == 1_001


def test_calls_of_grpc_are_logged_as_requests_are(plain_config, tmp_path):
    with Serve(
        plain_config, tmp_path / "log", {**ENVIRONMENT, "ORCHARD_LOG_FORMAT": "json"}, "--grpc-port", "0"
    ) as server:

        def lines() -> list[dict]:
            return [json.loads(line) for line in server.text.splitlines() if line.startswith("{")]

        port = until(lambda: next((line["grpc_port"] for line in lines() if "grpc_port" in line), 0), "gRPC listens")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

            def call(service: str, method: str, model: str) -> None:
                request_class, response_class = method_types(service)[method]
                path = f"/tensorflow.serving.{service}/{method}"
                stub = channel.unary_unary(path, request_class.SerializeToString, response_class.FromString)
                stub(request_class(model_spec=message("ModelSpec")(name=model)), timeout=20)

            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            for _ in range(3):
                call("ModelService", "GetModelStatus", "half_plus_two")
            for method, service in (("GetModelStatus", "ModelService"), ("Predict", "PredictionService")):
                for _ in range(2):
                    with pytest.raises(grpc.RpcError):
                        call(service, method, "no\nmodel")
        server.get(STATUS)

        entries = until(lambda: logged(lines(), 4), "four lines")
    # A line is written after its answer, and each call has a thread of its own: their order is not promised.
    assert Counter((line["path"].rpartition("/")[2], line["status"]) for line in entries) == {
        ("GetModelStatus", "NOT_FOUND"): 1,
        ("Predict", "NOT_FOUND"): 2,
        ("fruits", 404): 1,
    }
    predictions = [line for line in entries if line["path"].endswith("Predict")]
    assert {(line["model"], line["method"]) for line in predictions} == {("no\nmodel", "GRPC")}


def logged(lines: list[dict], count: int) -> list[dict]:
    entries = [line for line in lines if line["event"] == "request" and "readyz" not in line["path"]]
    return entries if len(entries) >= count else []
