"""Fixtures of the router's tests: one router for the tests of a module that change nothing but the weight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.traffic_weights import write_weight
from tests.serving.programs import until
from tests.serving.router.routing import GrpcUpstream, Route, Upstream


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="session")
def rpc_upstream() -> GrpcUpstream:
    return GrpcUpstream()


@pytest.fixture(scope="module")
def shared(upstream: Upstream, rpc_upstream: GrpcUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    rpc = f"127.0.0.1:{rpc_upstream.port}"
    options = ("--max-body", "1", "--timeout", "20", "--body-timeout", "5", "--grpc-server", rpc)
    with Route(upstream.port, tmp_path_factory.mktemp("route"), *options) as running:
        assert running.port
        yield running


@pytest.fixture
def router(shared: Route) -> Route:
    """The router, without a canary."""
    write_weight(shared.weights, 100)  # a client that only 0 % takes away shows when it acts
    until(lambda: shared.channel("anna") == "canary", "the weight acts")
    write_weight(shared.weights, 0)
    until(lambda: shared.channel("anna") == "stable", "the weight acts")
    return shared
