"""The console behind the router: the page and the API on one address, and the router's channel in the answer."""

from __future__ import annotations

import pytest

from serving.traffic_weights import write_weight
from tests.serving.console.test_page import RED, file
from tests.serving.programs import until
from tests.serving.router.routing import Route


@pytest.fixture(scope="module")
def routed(shown, tmp_path_factory):
    with Route(
        shown.server.port, tmp_path_factory.mktemp("routed"), "--console", f"127.0.0.1:{shown.console.port}"
    ) as route:
        assert route.port
        yield route


def test_the_page_asks_the_model_server_by_the_router_and_shows_the_channel(routed, shown, chromium):
    before = shown.console.text.count("method=POST")
    write_weight(routed.weights, 100)
    until(
        lambda: routed.send_request("GET", "/v1/models/fruits/metadata").headers["x-orchard-channel"] == "canary",
        "it acts",
    )
    chromium.open(f"http://127.0.0.1:{routed.port}/")

    chromium.give("drop", file("red.jpg", RED))
    chromium.settled(1)

    assert chromium.texts("#facts li")[:2] == ["version 2", "canary"]
    assert shown.console.text.count("method=POST") == before, "the photo did not go through the console"
    assert chromium.errors() == []


def test_the_router_gives_the_console_its_paths_alone(routed):
    for path in ("/", "/console/loop", "/console/api/state", "/console/versions/1"):
        answer = routed.get(path)
        assert (answer.status, answer.headers["content-security-policy"][:20]) == (200, "default-src 'none'; "), path
    assert "script-src 'self'" in routed.get("/").headers["content-security-policy"], "the console's own policy"
    assert routed.get("/nope").status == 404
    assert "the router has" in routed.get("/nope").error
    assert routed.get("/console").status == 404
