"""Who may use the console: tokens, sessions, a trusted proxy's header, and requests that other pages send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from selenium.webdriver.common.keys import Keys
from starlette.requests import Request

from orchard.errors import SettingsError
from serving.console import access_control
from serving.console.access_control import COOKIE, AccessControl, TrustedProxy
from serving.tokens import BearerTokens
from tests.serving.console.browser import NAME
from tests.serving.console.consoles import MARKUP, Console, empty_environment
from tests.serving.programs import HttpAnswer

TOKEN, OTHER = "a-token-of-anna-and-ben", "another-token-of-clara"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console with tokens, one name, and a proxy on another network."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens").write_text(f"# people\n{TOKEN}\n")
    proxy = ("--trusted-user-header", "X-Forwarded-User", "--trusted-proxy", "10.0.0.0/8")
    options = ("--token-file", str(folder / "tokens"), "--name", NAME, *proxy)
    with Console(folder, empty_environment(folder), *options) as console:
        assert console.port
        yield console


def send(console: Console, path: str, method: str = "GET", body: str | None = None, **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return console.send_request(method, path, body, {"Host": NAME, **named})


def log_in(console: Console, token: str, place: str = "/console/loop", **headers: str) -> HttpAnswer:
    return send(console, "/console/login", "POST", urlencode({"token": token, "next": place}), **headers)


def request(address: str = "10.1.2.3", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs, "client": (address, 4711)})


def test_without_a_token_there_is_the_form_and_nothing_else(guarded):
    page, state, predicted = (
        send(guarded, "/console/versions/2?x=1"),
        send(guarded, "/console/api/state"),
        send(guarded, "/v1/models/fruits:predict", "POST", "x"),
    )

    assert (page.status, page.headers["location"]) == (303, "/console/login?next=/console/versions/2%3Fx%3D1")
    assert (state.status, state.headers["www-authenticate"], "Log in" in state.error) == (401, "Bearer", True)
    assert predicted.status == 401
    form = send(guarded, "/console/login?next=" + MARKUP.replace("/", "%2F").replace("<", "%3C").replace(">", "%3E"))
    assert (form.status, MARKUP.encode() in form.body) == (200, False)
    assert send(guarded, "/healthz").status == 200


def test_a_token_opens_a_session_and_only_its_cookie_keeps_it(guarded):
    assert log_in(guarded, "wrong").status == 401
    assert b"This token is not accepted" in log_in(guarded, "wrong").body

    answer = log_in(guarded, f" {TOKEN} ")

    assert (answer.status, answer.headers["location"]) == (303, "/console/loop")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes
    assert TOKEN not in cookie
    assert send(guarded, "/", Cookie=cookie).status == 200
    end, _, signature = cookie.partition("=")[2].strip('"').partition(".")
    for forged in (f"{int(end) + 1}.{signature}", f"{end}.", f"{end}.é", ".", "²." + signature, end):
        assert send(guarded, "/", Cookie=f"{COOKIE}={forged}".encode().decode("latin-1")).status == 303, forged
    assert "Secure" in log_in(guarded, TOKEN, X_Forwarded_Proto="https").headers["set-cookie"].split("; ")
    ended = send(guarded, "/console/logout", "POST", Cookie=cookie)
    assert f'{COOKIE}=""' in ended.headers["set-cookie"]


def test_people_log_in_and_out_in_the_browser(guarded, chromium):
    chromium.open(f"http://{NAME}:{guarded.port}/console/loop")
    assert chromium.focused() == "token"

    chromium.press("not-a-token", Keys.ENTER)
    chromium.wait(lambda: chromium.texts("#wrong"), "the refusal")
    chromium.press(TOKEN, Keys.ENTER)
    chromium.wait(lambda: chromium.texts("h1") == ["State of the loop"], "the page that was asked for")
    assert chromium.run("return document.cookie") == "", "no script reads the cookie"
    assert chromium.errors() == []
    chromium.click(".who button")
    chromium.wait(lambda: chromium.texts("h1") == ["Log in"], "the form again")
    chromium.open(f"http://{NAME}:{guarded.port}/")
    assert chromium.texts("h1") == ["Log in"]


def test_programs_send_the_token_itself(guarded):
    assert send(guarded, "/console/api/state", Authorization=f"Bearer {TOKEN}").status == 200
    assert send(guarded, "/console/api/state", Authorization=f"Bearer {OTHER}").status == 401


@pytest.mark.parametrize(
    "place", ["//evil.example", "https://evil.example", "/\\evil.example", "/console/../x", "javascript:alert(1)", "/console/%0d%0aX: 1"]
)  # fmt: skip
def test_the_form_leads_to_no_other_place(guarded, place):
    assert log_in(guarded, TOKEN, place).headers["location"] == ("/console/../x" if ".." in place else "/")


def test_pages_of_another_origin_send_nothing(guarded):
    assert log_in(guarded, TOKEN, Sec_Fetch_Site="cross-site").status == 403
    assert log_in(guarded, TOKEN, Origin="https://evil.example").status == 403
    assert log_in(guarded, TOKEN, Origin=f"https://{NAME}").status == 303


def test_another_name_is_refused(guarded):
    assert guarded.send_request("GET", "/healthz", headers={"Host": "evil.example"}).status == 400


def test_a_form_without_end_is_refused(guarded):
    assert log_in(guarded, "x" * 5000).status == 413


def test_a_header_from_elsewhere_names_nobody(guarded):
    assert send(guarded, "/console/api/state", X_Forwarded_User="anna").status == 401


def test_a_proxy_that_is_trusted_names_the_user():
    access = AccessControl(None, TrustedProxy.of("X-Forwarded-User", ("10.0.0.0/8", "::1")))

    assert access.user(request(x_forwarded_user="anna")) == "anna"
    assert access.user(request("::1", x_forwarded_user="anna")) == "anna"
    for other in (
        request("192.0.2.1", x_forwarded_user="anna"),
        request(),
        request("testclient", x_forwarded_user="anna"),
    ):
        assert access.user(other) is None
    assert access.user(request(x_forwarded_user=" ")) is None
    with pytest.raises(SettingsError, match="--trusted-proxy"):
        TrustedProxy.of("X-Forwarded-User", ("10.0.0.0/99",))


def test_a_session_ends_with_its_time_and_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tokens").write_text(f"{TOKEN}\n{OTHER}\n")
    tokens = BearerTokens(tmp_path / "tokens")
    access = AccessControl(tokens, None)
    cookie = access.begin_session(OTHER)
    again = AccessControl(BearerTokens(tmp_path / "tokens"), None)
    assert again.user(request(cookie=f"{COOKIE}={cookie}")) == "token", "another process accepts it, too"
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")

    assert AccessControl(BearerTokens(tmp_path / "tokens"), None).user(request(cookie=f"{COOKIE}={cookie}")) is None
    now = access_control.time.time()
    monkeypatch.setattr(access_control.time, "time", lambda: now + access_control.SESSION_S + 1)
    assert again.user(request(cookie=f"{COOKIE}={cookie}")) is None
