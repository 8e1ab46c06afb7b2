"""What the router refuses and adds by itself, how it logs, and how it ends; with the real Envoy."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from orchard.cli import main
from serving.cli.route import route
from serving.traffic_weights import write_weight
from tests.serving.programs import send_request, until
from tests.serving.router.routing import PATH, KeptConnection, Route


def log_lines(router: Route) -> list[dict]:
    return [json.loads(line) for line in router.text.splitlines() if line.startswith("{")]


def test_a_body_above_the_limit_is_refused_in_the_form_of_the_api(router, upstream):
    seen = len(upstream.seen)

    found = router.predict({"x-client": "anna"}, "x" * ((1 << 20) + 1))

    assert (found.status, list(found.json)) == (413, ["error"])
    assert len(upstream.seen) == seen
    assert router.predict({"x-client": "anna"}, "x" * (1 << 20)).json["bytes"] == 1 << 20


@pytest.mark.parametrize(
    "path", ["/", "/monitoring/prometheus/metrics", "/v1/../monitoring/prometheus/metrics", "/v2x", "/openapi.json/x"]
)
def test_only_the_api_passes(router, path):
    found = send_request(router.port, "GET", path)

    assert (found.status, "the router has /v1/" in found.error) == (404, True)


@pytest.mark.parametrize("path", ["/v2", "/v2/health/ready", "/v2/models/m/versions/7/infer", "/openapi.json"])
def test_the_open_inference_protocol_passes_as_v1_does(router, path):
    found = send_request(router.port, "GET", path, headers={"x-orchard-channel": "canary"})

    assert (found.status, found.headers["x-orchard-channel"]) == (200, "canary")
    assert "set-cookie" in send_request(router.port, "GET", path).headers


def test_answers_have_a_request_id_and_security_headers(router, upstream):
    found = router.predict(
        {"x-client": "anna", "x-request-id": "r-1", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    )

    assert found.headers["x-request-id"] == "r-1"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert (upstream.seen[-1]["x-request-id"], upstream.seen[-1]["traceparent"][:4]) == ("r-1", "00-a")
    assert len(router.predict({"x-client": "anna"}).headers["x-request-id"]) == 36
    assert not [name for name in found.headers if name.startswith("x-envoy")]


def test_each_request_is_a_line_of_json(router):
    router.predict({"x-client": "anna", "x-request-id": 'quote " and \\ back'})

    line = until(
        lambda: next((x for x in log_lines(router) if x["request_id"] == 'quote " and \\ back'), None), "it is logged"
    )
    assert (line["method"], line["path"], line["status"], line["to"]) == ("POST", PATH, 200, "rest_stable")
    assert (line["channel"], line["remote"], line["bytes_in"]) == ("stable", "127.0.0.1", 2)


def test_the_administration_is_a_socket_of_this_user_alone(router):
    (folder,) = (router.weights.parent / "tmp").iterdir()

    assert (folder / "admin").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_taken_port_names_who_has_it(router, tmp_path):
    with Route(1, tmp_path, "--port", str(router.port)) as second:
        assert second.child.wait() == 9
        assert f"port {router.port} on 127.0.0.1 is taken" in second.log.read_text()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_after_sigterm_requests_in_flight_are_answered_and_nothing_is_left(upstream, tmp_path):
    found = []
    with Route(upstream.port, tmp_path) as ending:
        path = PATH.replace(":", "slow:")
        ask = threading.Thread(target=lambda: found.append(send_request(ending.port, "POST", path, "{}")))
        ask.start()
        assert upstream.waiting.wait(30)

        os.kill(ending.child.pid, signal.SIGTERM)
        until(lambda: "draining in_flight=1" in ending.text, "it drains")
        until(lambda: not listens(ending.port), "it accepts no more connections")
        assert ending.child.running()
        upstream.release()
        ask.join()

        assert [answer.status for answer in found] == [200]
        assert ending.child.wait() == 0
        assert "stopped" in ending.text
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not listens(ending.port)


def listens(port: int) -> bool:
    try:
        send_request(port, "GET", "/", timeout=5)
    except OSError:
        return False
    return True


def test_a_second_signal_ends_it_at_once(upstream, tmp_path):
    upstream.waiting.clear()
    with Route(upstream.port, tmp_path, "--no-channel-header", "--no-access-log") as ending:
        write_weight(ending.weights, 100)
        until(lambda: ending.channel("anna") == "canary", "the weight acts")
        forged = ending.predict({"x-client": "anna", "x-orchard-channel": "staging"})
        assert (forged.json["channel"], log_lines(ending)) == ("canary", []), "the caller may not choose"

        os.kill(ending.child.pid, signal.SIGINT)
        assert ending.child.wait() == 0


def test_a_model_server_that_is_away_is_an_error_in_the_form_of_the_api(tmp_path):
    with Route(9, tmp_path) as alone, KeptConnection(alone.port) as connection:
        status, body = connection.post("x-client: anna")

    assert (status, list(json.loads(body))) == (503, ["error"])


def test_the_file_is_printed_without_envoy(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--print-config", "--router-dir", str(tmp_path), "--grpc-server", "[::1]:8500"], route) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("# Envoy's bootstrap file")
    assert f"symlink_root: {tmp_path}/current" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [["--server", "https://127.0.0.1:8501"], ["--grpc-server", "8500"], ["--server", "nowhere"]]
)
def test_what_cannot_be_routed_to_is_refused(options, capsys):
    assert main(["--print-config", *options], route) == 3
