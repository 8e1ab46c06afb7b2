"""What the console passes on, what it refuses, how it starts and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.console.consoles import Console, empty_environment
from tests.serving.programs import raw, until
from tests.serving.router.routing import Upstream

MODEL = "slow-fruits"
PATH = f"/v1/models/{MODEL}/versions/1:predict"
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    made = Upstream()
    made.release()
    return made


@pytest.fixture(scope="module")
def console(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console in front of a server that needs a token."""
    folder = tmp_path_factory.mktemp("passing")
    (folder / "token").write_text("the-token-of-the-server\n")
    environment = {**empty_environment(folder), "ORCHARD_MODEL": MODEL, "ORCHARD_LOG_FORMAT": "json"}
    server = ("--server", f"http://127.0.0.1:{upstream.port}", "--server-token-file", str(folder / "token"))
    with Console(folder, environment, *server, "--max-body", "1") as running:
        assert running.port
        yield running


def test_a_photo_is_passed_on_with_the_servers_token_and_without_what_is_the_consoles(console, upstream):
    headers = {**JPEG, "Authorization": "Bearer of-the-console", "Cookie": "orchard-console=x", "x-request-id": "r-1"}

    answer = console.send_request("POST", f"{PATH}?top=5", b"x" * 1000, headers)

    sent = upstream.seen[-1]
    assert (answer.status, answer.json["bytes"]) == (200, 1000)
    assert sent[""] == f"POST {PATH}?top=5 HTTP/1.1"
    assert (sent["authorization"], sent["x-request-id"]) == ("Bearer the-token-of-the-server", "r-1")
    assert (sent["content-type"], "cookie" in sent, "x-orchard-channel" in sent) == ("image/jpeg", False, False)


def test_a_request_without_a_version_goes_to_the_channel_that_it_names_or_to_stable(console):
    plain = f"/console/v1/models/{MODEL}:predict"

    assert console.send_request("POST", plain, b"x", JPEG).headers["x-orchard-channel"] == "stable"
    chosen = console.send_request("POST", plain, b"x", {**JPEG, "x-orchard-channel": "canary"})
    assert (chosen.json["channel"], chosen.headers["x-orchard-channel"]) == ("canary", "canary")
    assert console.send_request("POST", plain, b"x", {**JPEG, "x-orchard-channel": "a b"}).status == 400
    assert f'data-api="/console/v1" data-model="{MODEL}"' in console.get("/").body.decode()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", f"/v1/models/{MODEL}:classify", 404),
        ("POST", f"/v1/models/{MODEL}/../other:predict", 404),
        ("POST", f"/v1/models/{MODEL}%2f..%2fother:predict", 404),
        ("POST", f"{PATH}?top=5&x=1", 404),
        ("GET", "/v1/monitoring", 404),
        ("GET", PATH, 405),
        ("POST", f"/v1/models/{MODEL}", 405),
        ("PUT", PATH, 405),
    ],
)
def test_only_the_pages_own_requests_pass(console, upstream, method, path, status):
    before = len(upstream.seen)

    answer = console.send_request(method, path, b"x" if method != "GET" else None, JPEG)

    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert len(upstream.seen) == before


def test_a_body_above_the_limit_is_refused_with_and_without_a_length(console, upstream):
    before = len(upstream.seen)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"

    declared = raw(console.port, f"{head}Content-Length: {1 << 30}\r\n\r\n".encode())
    chunked = raw(
        console.port, f"{head}Transfer-Encoding: chunked\r\n\r\n200000\r\n".encode() + b"x" * (1 << 20) + b"x" * 4096
    )

    for answer in (declared, chunked):
        assert answer.startswith(b"HTTP/1.1 413"), answer
    assert len(upstream.seen) == before


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: [", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        ("GET / HTTP/1.1\r\nX: y", 400),
        ("GET /console/versions/%00%ff HTTP/1.1\r\nHost: x", 404),
        ("GET /console/compare?before=%ff&after=%00 HTTP/1.1\r\nHost: x", 404),
        ("GET /console/login?next=%ff HTTP/1.1\r\nHost: [", 200),
        ("POST /console/login HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\nContent-Length: 0", 403),
        ("GET / HTTP/1.1\r\nHost: x\r\nCookie: orchard-console=\xff;;=", 200),
        ("BREW / HTTP/1.1\r\nHost: x", 405),
        ("nonsense", 400),
    ],
)
def test_a_strange_request_is_no_failure(console, head, status):
    answer = raw(console.port, f"{head}\r\nConnection: close\r\n\r\n".encode("latin-1"))

    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert console.get("/healthz").status == 200


def test_a_port_that_is_taken_is_named_with_the_program_that_has_it(console, tmp_path):
    with Console(tmp_path, empty_environment(tmp_path), "--port", str(console.port)) as second:
        assert second.child.wait() == 9
        assert f"port {console.port} on 127.0.0.1 is taken" in second.text


def test_after_sigterm_a_request_in_flight_is_answered_and_the_process_ends_with_0(tmp_path: Path):
    slow = Upstream()
    environment = {**empty_environment(tmp_path), "ORCHARD_MODEL": MODEL, "ORCHARD_LOG_FORMAT": "json"}
    with Console(tmp_path, environment, "--server", f"http://127.0.0.1:{slow.port}") as console:
        answers: list[int] = []
        port = console.port
        waiting = threading.Thread(target=lambda: answers.append(console.send_request("POST", PATH, b"x", JPEG).status))
        waiting.start()
        assert slow.waiting.wait(20)

        console.child.process.send_signal(signal.SIGTERM)
        until(lambda: _refused(port), "it does not listen any more")
        slow.release()
        waiting.join(20)

        assert (answers, console.child.wait()) == ([200], 0)
        events = [json.loads(line) for line in console.text.splitlines()]
    assert {event["event"] for event in events} == {"listening", "ended by a signal", "request", "stopped"}
    assert events[0]["page"] == f"http://127.0.0.1:{port}/"
    request = next(event for event in events if event["event"] == "request")
    assert (request["path"], request["status"], request["user"]) == (PATH, 200, "anybody")


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False
