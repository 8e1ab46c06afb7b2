"""The header `x-orchard-channel` chooses among the labels where a request names neither a version nor a label."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from serving.protos import message
from tests.serving.grpc_client import GrpcTestClient, dial
from tests.serving.programs import Serve

HEADER = "x-orchard-channel"
HALF = "/v1/models/half_plus_two"
GOOD = {"instances": [1.0]}
OLD, NEW = "Version_Label", "stable"  # 123 and 124; 124 is also the latest


@pytest.fixture(scope="module")
def client(server: Serve) -> Iterator[GrpcTestClient]:
    with dial(server) as channel:
        yield GrpcTestClient(channel)


def answered_version(server: Serve, path: str, channel: str | None) -> int:
    """The version in the answer of a request of the metadata, or of a prediction by its value (x / 2 + 2 or 3)."""
    headers = {} if channel is None else {"X-Orchard-Channel": channel}
    found = server.send_request("GET", f"{path}/metadata", headers=headers)
    assert found.status == 200, found.body
    number = int(found.json["model_spec"]["version"])
    answer = server.send_request("POST", f"{path}:predict", GOOD, headers=headers).json
    exact = server.send_request("POST", f"{HALF}/versions/{number}:predict", GOOD).json
    assert answer == exact
    return number


@pytest.mark.parametrize(
    ("path", "channel", "version"),
    [
        (HALF, None, 124),
        (HALF, OLD, 123),
        (HALF, NEW, 124),
        (f"{HALF}/versions/124", OLD, 124),
        (f"{HALF}/versions/123", "no-such", 123),
        (f"{HALF}/labels/{NEW}", OLD, 124),
    ],
)
def test_the_channel_chooses_where_the_url_does_not(server, path, channel, version):
    assert answered_version(server, path, channel) == version


def test_an_unknown_channel_is_not_found_whatever_the_method_is(server):
    for method, path in (("POST", ":predict"), ("POST", ":classify"), ("POST", ":regress"), ("GET", "/metadata")):
        found = server.send_request(method, HALF + path, GOOD if method == "POST" else None, {HEADER: "c" * 99})

        assert found.status == 404
        assert found.error.startswith(f"Unknown channel of half_plus_two: {'c' * 64}… (header {HEADER})")
        assert found.error.endswith("channels that are served: Version_Label, stable")


def test_an_unknown_model_is_reported_as_without_the_header(server):
    path = "/v1/models/no_such:predict"

    found = server.send_request("POST", path, GOOD, {HEADER: "stable"})

    plain = server.send_request("POST", path, GOOD)
    assert (found.status, found.body) == (plain.status, plain.body)


def test_a_status_lists_all_versions_whatever_the_channel_is(server):
    found = server.send_request("GET", HALF, None, {HEADER: "no-such"})

    assert found.status == 200
    assert len(found.json["model_version_status"]) == 2


@pytest.mark.parametrize(
    ("channel", "version", "answered"), [(OLD, 0, 123), (NEW, 0, 124), (None, 0, 124), (OLD, 124, 124)]
)
def test_grpc_metadata_chooses_as_the_header_does(client, channel, version, answered):
    metadata = () if channel is None else ((HEADER, channel),)

    found = client.predict("half_plus_two", {"x": np.ones(1, np.float32)}, version=version, metadata=metadata)

    assert found.model_spec.version.value == answered


def test_every_grpc_method_that_chooses_a_version_honours_it(client):
    metadata = ((HEADER, OLD),)
    request = message("GetModelMetadataRequest")()
    request.model_spec.name = "half_plus_two"
    request.metadata_field.append("signature_def")
    found = client.call("GetModelMetadata", request, metadata=metadata)
    assert found.model_spec.version.value == 123

    request = message("MultiInferenceRequest")()
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "half_plus_two", "regress_x_to_y"
    request.input.example_list.examples.append(b"")
    with pytest.raises(grpc.RpcError) as caught:
        client.call("MultiInference", request, metadata=((HEADER, "no-such"),))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_grpc_does_not_find_an_unknown_channel(client):
    with pytest.raises(grpc.RpcError) as caught:
        client.predict("half_plus_two", {"x": np.ones(1, np.float32)}, metadata=((HEADER, "staging"),))

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == (
        "Unknown channel of half_plus_two: staging (header x-orchard-channel); channels that are served: "
        "Version_Label, stable"
    )


def test_the_state_of_a_model_needs_no_channel(client):
    request = message("GetModelStatusRequest")()
    request.model_spec.name = "half_plus_two"

    found = client.call("GetModelStatus", request, "ModelService", metadata=((HEADER, "no-such"),))

    assert len(found.model_version_status) == 2
