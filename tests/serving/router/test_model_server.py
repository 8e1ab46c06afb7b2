"""The router in front of our own server: REST and gRPC go to the version that the channel's label points to."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from serving.traffic_weights import write_weight
from tests.serving.grpc_client import GrpcTestClient, grpc_port
from tests.serving.programs import Serve, send_request, until
from tests.serving.router.routing import Route

PATH = "/v1/models/half_plus_two"


@pytest.fixture(scope="module")
def routed(server: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    folder = tmp_path_factory.mktemp("routed")
    with Route(server.port, folder, "--grpc-server", f"127.0.0.1:{grpc_port(server)}") as running:
        assert running.port
        yield running


@pytest.fixture(scope="module")
def client(routed: Route) -> Iterator[GrpcTestClient]:
    with grpc.insecure_channel(f"127.0.0.1:{routed.port}") as channel:
        yield GrpcTestClient(channel)


def version(routed: Route, path: str = PATH, **headers: str) -> int:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    found = send_request(routed.port, "GET", f"{path}/metadata", headers=headers)
    return int(found.json["model_spec"]["version"]) if found.status == 200 else found.status


def rpc_version(client: GrpcTestClient, *metadata: tuple[str, str]) -> int:
    answer = client.predict("half_plus_two", {"x": np.ones(1, np.float32)}, metadata=metadata)
    return int(answer.model_spec.version.value)


def test_rest_goes_to_the_version_of_the_channel(routed):
    assert version(routed) == 124
    assert version(routed, x_orchard_channel="Version_Label") == 123
    assert version(routed, f"{PATH}/versions/123") == 123
    assert version(routed, f"{PATH}/labels/Version_Label") == 123
    assert version(routed, x_orchard_channel="no-such") == 404
    assert send_request(routed.port, "GET", "/healthz").status == 200
    assert "models" in send_request(routed.port, "GET", "/readyz").json


def test_grpc_goes_to_the_version_of_the_channel_on_the_same_port(routed, client):
    assert rpc_version(client) == 124
    assert rpc_version(client, ("x-orchard-channel", "Version_Label")) == 123
    with pytest.raises(grpc.RpcError) as caught:
        rpc_version(client, ("x-orchard-channel", "no-such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    write_weight(routed.weights, 100)  # this server has no canary
    until(lambda: version(routed) == 404, "the weight acts")
    with pytest.raises(grpc.RpcError) as caught:
        rpc_version(client, ("x-client", "anna"))
    assert "Unknown channel of half_plus_two: canary" in caught.value.details()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/..%2fmonitoring%2fprometheus%2fmetrics", 400),
        (f"/readyz/..%2f{PATH[1:].replace('/', '%2f')}", 503),  # a model of that name is not ready
    ],
)
def test_an_escaped_slash_leads_nowhere_else(routed, path, status):
    found = send_request(routed.port, "GET", path)

    assert found.status == status
    assert b"model_version_status" not in found.body
