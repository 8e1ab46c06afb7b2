"""Rates of clients and of addresses, with the real Envoy. The buckets fill so slowly that what they hold is what passes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from orchard.cli import main
from serving.cli.route import route
from tests.serving.programs import send_request
from tests.serving.router.routing import GrpcUpstream, KeptConnection, Route, Upstream, call

BURST, ADDRESS_BURST = 20, 200


@pytest.fixture(scope="module")
def limited(
    upstream: Upstream, rpc_upstream: GrpcUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Route]:
    rates = ("--client-rate", "0.01", "--client-burst", str(BURST), "--address-rate", "0.1")
    rpc = ("--grpc-server", f"127.0.0.1:{rpc_upstream.port}")
    with Route(upstream.port, tmp_path_factory.mktemp("limited"), *rates, *rpc, "--no-access-log") as running:
        assert running.port
        yield running


def passed(limited: Route, source: str, *requests: str) -> int:
    """How many requests, each with these lines of headers, pass from an address; the others get 429.

    They have no body: Envoy closes a connection of HTTP/1.1 when it refuses a request before it has the whole body.
    """
    with KeptConnection(limited.port, source) as connection:
        found = Counter(connection.post(*lines.split("\n"), body=b"")[0] for lines in requests)
    assert set(found) <= {200, 429}
    return found[200]


def test_a_flood_of_one_client_does_not_touch_another_at_its_address(limited, upstream):
    flooded: list[int] = []
    flood = threading.Thread(target=lambda: flooded.append(passed(limited, "127.1.0.1", *["x-client: anna"] * 500)))
    flood.start()
    others = [passed(limited, "127.1.0.1", *[f"x-client: other-{number}"] * 5) for number in range(20)]
    flood.join()

    assert others == [5] * 20, "0 failed"
    assert BURST <= flooded[0] <= BURST + 2
    assert sum(seen.get("x-client") == "anna" for seen in upstream.seen) == flooded[0]


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("127.1.1.1", "x-client: forged-{}"),
        ("127.1.1.2", "cookie: orchard-client=forged-{}"),
        ("127.1.1.3", "cookie: a=b; orchard-client=forged-{}\nx-forwarded-for: 10.0.0.{}"),
    ],
)
def test_another_name_with_each_request_is_bounded_by_its_address(limited, source, header):
    found = passed(limited, source, *(header.format(number, number % 250) for number in range(ADDRESS_BURST + 100)))

    assert ADDRESS_BURST <= found <= ADDRESS_BURST + 10


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("127.1.2.1", "accept: */*"),
        ("127.1.2.2", "cookie: orchard-client=a"),
        ("127.1.2.3", "cookie: other={}"),
        ("127.1.2.4", "x-client: {:0>200}"),
        ("127.1.2.5", "x-forwarded-for: 10.0.0.{}"),
        ("127.1.2.6", "x-client: anna\ncookie: orchard-client={}"),
        ("127.1.2.7", "cookie: orchard-client={:0>300}"),
    ],
    ids=[
        "no name",
        "a cookie",
        "no cookie of ours",
        "too long a name",
        "forged address",
        "a name and a cookie",
        "too long a cookie",
    ],
)
def test_a_client_is_its_name_else_its_cookie_else_its_address(limited, source, header):
    found = passed(limited, source, *(header.format(number) for number in range(BURST + 20)))

    assert BURST <= found <= BURST + 2


def test_nobody_uses_up_a_name_from_elsewhere(limited):
    assert passed(limited, "127.1.3.1", *["x-client: victim"] * 50) <= BURST + 2
    assert passed(limited, "127.1.3.2", *["x-client: victim"] * BURST) == BURST


def test_a_refusal_says_when_to_try_again_in_the_form_of_the_api(limited):
    with KeptConnection(limited.port) as connection:
        while connection.post("x-client: hasty", body=b"")[0] == 200:
            pass

    found = limited.predict({"x-client": "hasty"})

    assert found.status == 429
    assert 90 <= int(found.headers["retry-after"]) <= 100
    assert found.error == "Too many requests: this client, or its address, is above its rate"
    assert found.headers["content-type"] == "application/json"
    assert found.headers["x-content-type-options"] == "nosniff"


def test_probes_have_no_limit(limited):
    assert {send_request(limited.port, "GET", path).status for path in ["/healthz", "/readyz"] * 40} == {200}


def test_grpc_has_the_same_limit(limited):
    with grpc.insecure_channel(f"127.0.0.1:{limited.port}") as channel:
        found = Counter(call(channel, ("x-client", "rpc")) for _ in range(BURST + 10))
        assert BURST <= found[grpc.StatusCode.OK] <= BURST + 2
        assert set(found) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert call(channel, ("x-client", "another")) is grpc.StatusCode.OK
        assert call(channel, ("x-client", "rpc"), method="/grpc.health.v1.Health/Check") is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "options",
    [["--client-burst", "5"], ["--address-rate", "5"], ["--client-rate", "5", "--address-rate", "4"]],
)
def test_rates_that_contradict_each_other_are_refused(options, capsys):
    assert main(["--print-config", *options], route) == 3
    assert "-rate" in capsys.readouterr().err
