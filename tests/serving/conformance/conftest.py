"""The server under the conformance tests: ours, or any other at CONFORMANCE_URL.

For another server (TF Serving itself), make the models with `python -m tests.serving.model_fixtures FOLDER`, have it serve
FOLDER/models/<name> under these names with all versions, with the label Version_Label on half_plus_two's version 123,
and run `CONFORMANCE_URL=http://HOST:PORT CONFORMANCE_GRPC=HOST:PORT pytest tests/serving/conformance`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
import requests

from tests.serving.grpc_client import GrpcTestClient, dial
from tests.serving.programs import HttpAnswer

URL = os.environ.get("CONFORMANCE_URL", "")
GRPC = os.environ.get("CONFORMANCE_GRPC", "")


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> str:
    """The server's address."""
    if URL:
        assert urlsplit(URL).scheme in {"http", "https"}, URL
        return URL.rstrip("/")
    return f"http://127.0.0.1:{request.getfixturevalue('server').port}"


@pytest.fixture(scope="session")
def call(base_url: str) -> Callable[..., HttpAnswer]:
    """Send a request; a body that is not text is sent as JSON."""
    session = requests.Session()

    def send(method: str, path: str, body: Any = None) -> HttpAnswer:
        data = body if isinstance(body, str | bytes | None) else json.dumps(body)
        prepared = session.prepare_request(requests.Request(method, base_url + "/", data=data))
        prepared.url = base_url + path  # unchanged: requests would normalise it
        found = session.send(prepared, timeout=30)
        return HttpAnswer(found.status_code, {k.lower(): v for k, v in found.headers.items()}, found.content)

    return send


@pytest.fixture(scope="session")
def predict(call: Callable[..., HttpAnswer]) -> Callable[..., HttpAnswer]:
    """Send a prediction request."""
    return lambda model, body: call("POST", f"/v1/models/{model}:predict", body)


@pytest.fixture(scope="session")
def rpc_client(request: pytest.FixtureRequest) -> Iterator[GrpcTestClient]:
    """A gRPC client of the server."""
    with grpc.insecure_channel(GRPC) if GRPC else dial(request.getfixturevalue("server")) as channel:
        yield GrpcTestClient(channel)
