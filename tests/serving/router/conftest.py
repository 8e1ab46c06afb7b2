"""Fixtures of the router's tests: one router for the tests of a module that change nothing but the weight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving.traffic_weights import write_weight
from tests.serving.programs import until
from tests.serving.router.routing import Route, Upstream


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def shared(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    with Route(upstream.port, tmp_path_factory.mktemp("route"), "--max-body", "1", "--timeout", "20") as running:
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
