"""Pages of the configured origins, and of no others, may call the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchard.errors import SettingsError
from serving.http.cross_origin import CrossOriginPolicy
from serving.models_config import ModelConfig, render
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, raw

SHOP = "https://shop.example"
PATH = "/v1/models/matrix:predict"
BODY = {"instances": [[1, 2, 3, 4]]}
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def shop(zoo: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cors")
    (folder / "models.config").write_text(render([ModelConfig("matrix", str(zoo / "matrix"))]))
    (folder / "tokens").write_text("a-secret-of-the-tests\n")
    options = ["--cors-origin", SHOP, "--cors-origin", "http://localhost:3000", "--token-file", str(folder / "tokens")]
    with Serve(folder / "models.config", folder / "log", ENVIRONMENT, *options) as server:
        yield server


def preflight(server: Serve, origin: str):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    return server.send_request("OPTIONS", PATH, None, asked)


@pytest.mark.parametrize("origin", [SHOP, "http://localhost:3000"])
def test_a_page_of_a_configured_origin_may_call(shop, origin):
    asked = preflight(shop, origin)
    assert (asked.status, asked.headers[ALLOWED]) == (200, origin)
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()

    answer = shop.predict("matrix", BODY, headers={"Origin": origin, "Authorization": "Bearer a-secret-of-the-tests"})
    assert (answer.status, answer.headers[ALLOWED], answer.headers["vary"]) == (200, origin, "Origin")


def test_a_page_may_read_every_error(shop):
    headers = {"Origin": SHOP}
    assert (shop.predict("matrix", BODY, headers=headers).status) == 401
    for answer in (shop.predict("matrix", BODY, headers=headers), shop.send_request("GET", "/x", None, headers)):
        assert answer.headers[ALLOWED] == SHOP
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nOrigin: {SHOP}\r\nContent-Length: 99999999\r\n\r\n"
    refused = raw(shop.port, head.encode())
    assert refused.startswith(b"HTTP/1.1 413 ")
    assert b"Access-Control-Allow-Origin: https://shop.example\r\n" in refused


@pytest.mark.parametrize(
    "origin", ["https://shop.example.evil", "http://shop.example", "null", "https://shop.example:444"]
)
def test_a_page_of_another_origin_may_not(shop, origin):
    asked = preflight(shop, origin)
    assert asked.status == 403
    assert ALLOWED not in asked.headers
    answer = shop.send_request("GET", "/readyz", None, {"Origin": origin})
    assert (answer.headers.get(ALLOWED), answer.headers["vary"]) == (None, "Origin")


def test_without_the_option_no_page_may(server):
    assert ALLOWED not in preflight(server, SHOP).headers
    assert ALLOWED not in server.predict("matrix", BODY, headers={"Origin": SHOP}).headers


def test_every_origin_may_be_allowed():
    policy = CrossOriginPolicy(["*"])
    request = type("Request", (), {"headers": {"origin": "null"}})
    assert ("Access-Control-Allow-Origin", "*") in policy.headers(request)


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "https://a b", "", "https://*.example"])
def test_what_is_not_an_origin_is_refused(origin):
    with pytest.raises(SettingsError, match="not a valid origin"):
        CrossOriginPolicy([origin])
