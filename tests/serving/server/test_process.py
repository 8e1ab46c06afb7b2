"""The server as a process: ports, signals, tokens, TLS, logs, limits."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from serving.models_config import ModelConfig, render
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, raw, until


@pytest.fixture
def config(zoo: Path, tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    path.write_text(render(ModelConfig(name, str(zoo / name)) for name in ("slow", "matrix")))
    return path


def start(config: Path, *options: str, **environment: str) -> Serve:
    return Serve(config, config.with_name("log"), {**ENVIRONMENT, **environment}, *options)


def in_thread(call) -> tuple[threading.Thread, list]:
    """Call in a thread; what it returned is in the list, nothing if the connection broke."""
    results: list = []

    def run() -> None:
        with suppress(OSError, http.client.HTTPException):
            results.append(call())

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def metric(server: Serve, name: str) -> float:
    lines = server.get("/monitoring/prometheus/metrics").body.decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name + "{")), 0.0)


def test_sigterm_answers_what_is_under_way_and_then_ends(config):
    with start(config) as server:
        thread, results = in_thread(lambda: server.predict("slow", {"instances": [20_000]}))
        until(lambda: metric(server, "orchard_serving_in_flight") == 1, "the request is in flight")

        os.kill(server.child.pid, signal.SIGTERM)

        thread.join()
        assert results[0].json == {"predictions": [20000.0]}
        assert results[0].headers["connection"] == "close"
        assert server.child.wait() == 0
        assert "draining signal=SIGTERM in_flight=1" in server.text


def test_while_it_drains_it_is_not_ready_and_still_answers(config):
    with start(config, "--drain-delay", "1") as server:
        os.kill(server.child.pid, signal.SIGTERM)
        until(lambda: server.get("/readyz").status == 503, "it is not ready any more")

        assert server.get("/healthz").status == 200
        assert server.predict("matrix", {"instances": [[1, 2, 3, 4]]}).status == 200
        assert server.child.wait() == 0


def test_sigterm_twice_ends_at_once(config):
    with start(config) as server:
        thread, results = in_thread(lambda: server.predict("slow", {"instances": [100_000]}))
        until(lambda: metric(server, "orchard_serving_in_flight") == 1, "the request is in flight")

        os.kill(server.child.pid, signal.SIGTERM)
        until(lambda: "draining" in server.text, "it drains")
        os.kill(server.child.pid, signal.SIGTERM)

        assert server.child.wait() == 0
        thread.join()
        assert results == []


def test_a_taken_port_is_named_with_what_to_do(server, config):
    command = [sys.executable, "-m", "orchard", "serve", "--port", str(server.port), "--models-config", str(config)]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    assert ended.returncode == 9
    assert f"port {server.port} on 127.0.0.1 is taken" in ended.stderr
    assert "--port" in ended.stderr


def test_too_many_requests_are_told_to_come_again(config):
    with start(config, "--max-in-flight", "3", "--max-queue", "1") as server:
        waiting = [in_thread(lambda: server.predict("slow", {"instances": [6000]})) for _ in range(12)]
        for thread, _ in waiting:
            thread.join()

        answers = [results[0] for _, results in waiting]
        refused = [answer for answer in answers if answer.status != 200]
        assert {answer.status for answer in refused} <= {429, 503}
        assert refused
        assert any(answer.status == 200 for answer in answers)
        assert all(answer.headers["retry-after"] == "1" for answer in refused)
        assert server.predict("matrix", {"instances": [[1, 2, 3, 4]]}).status == 200


def test_a_request_that_takes_too_long_is_given_up(config):
    with start(config, "--timeout", "0.3") as server:
        begin = time.monotonic()
        answer = server.predict("slow", {"instances": [60_000]})

        assert answer.status == 504
        assert "No answer within 0.3 s" in answer.error
        assert time.monotonic() - begin < 5
        until(lambda: metric(server, "orchard_serving_in_flight") == 0, "its run has ended")
        assert server.predict("matrix", {"instances": [[1, 2, 3, 4]]}).status == 200


def test_a_large_body_is_refused_by_its_header(config):
    with start(config, "--max-body", "1") as server:
        head = b"POST /v1/models/matrix:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n"
        assert raw(server.port, head).startswith(b"HTTP/1.1 413 ")
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        chunked = b"POST /v1/models/matrix:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert raw(server.port, chunked + chunk * 2).startswith(b"HTTP/1.1 413 ")
        assert server.predict("matrix", b" " * ((1 << 20) + 1)).status == 413


def test_without_a_valid_token_nobody_is_answered(config, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("# accepted tokens\nfirst-token-0123456789\n")
    with start(config, "--token-file", str(tokens)) as server:
        body = {"instances": [[1, 2, 3, 4]]}

        def status(token: str) -> int:
            return server.predict("matrix", body, headers={"Authorization": token} if token else {}).status

        assert [status(""), status("Bearer no"), status("Basic first-token-0123456789")] == [401, 401, 401]
        assert status("Bearer first-token-0123456789") == 200
        assert server.get("/monitoring/prometheus/metrics").status == 401
        assert server.get("/healthz").status == server.get("/readyz").status == 200

        tokens.write_text("second-token-0123456789\n")
        until(lambda: status("Bearer second-token-0123456789") == 200, "the new token is taken over")
        assert status("Bearer first-token-0123456789") == 401


def test_a_token_file_without_tokens_is_refused(config, tmp_path):
    (tmp_path / "tokens").write_text("short\n")
    command = [sys.executable, "-m", "orchard", "serve", "--port", "0", "--token-file", str(tmp_path / "tokens")]

    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    assert ended.returncode == 3
    assert "at least 16 characters" in ended.stderr


def certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


def test_it_speaks_tls(config, tmp_path):
    pem, key = certificate(tmp_path)
    with Serve(
        config, tmp_path / "log", ENVIRONMENT, "--tls-cert", str(pem), "--tls-key", str(key), wait=False
    ) as server:
        url = f"https://localhost:{server.port}"
        until(lambda: requests.get(f"{url}/readyz", verify=pem, timeout=5).status_code == 200, "ready")

        answer = requests.post(
            f"{url}/v1/models/matrix:predict", json={"instances": [[1, 2, 3, 4]]}, verify=pem, timeout=5
        )

        assert answer.json() == {"predictions": [[7.0, 10.0]]}
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{url}/readyz", verify=ssl.get_default_verify_paths().openssl_cafile, timeout=5)


def test_every_request_has_an_id_and_a_line_in_the_log(config):
    with start(config, ORCHARD_LOG_FORMAT="json") as server:
        body = {"instances": [[1, 2, 3, 4]]}
        given = server.predict("matrix", body, headers={"X-Request-Id": "abc-1"})
        generated = server.predict("matrix", body)
        hostile = server.predict("matrix", body, headers={"X-Request-Id": 'a"b c'})
        assert given.headers["x-request-id"] == "abc-1"
        assert hostile.headers["x-request-id"] not in ('a"b c', generated.headers["x-request-id"])

        def lines() -> list[dict]:
            results = [json.loads(line) for line in server.text.splitlines() if line.startswith("{")]
            return [line for line in results if line.get("path") == "/v1/models/matrix:predict"]

        until(lambda: len(lines()) == 3, "three lines")
        assert [line["request_id"] for line in lines()] == [
            answer.headers["x-request-id"] for answer in (given, generated, hostile)
        ]
        line = lines()[0]
        assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/models/matrix:predict", 200)
        assert line["version"] == 1
        assert line["ms"] > 0


def test_open_metrics_name_a_request_for_each_bucket(server):
    server.predict("matrix", {"instances": [[1, 2, 3, 4]]}, headers={"X-Request-Id": "exemplar-7"})

    answer = server.send_request(
        "GET", "/monitoring/prometheus/metrics", None, {"Accept": "application/openmetrics-text"}
    )

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert b'# {request_id="exemplar-7"}' in answer.body
    assert answer.body.endswith(b"# EOF\n")


def test_unknown_models_make_no_metrics_of_their_own(server):
    for index in range(50):
        server.predict(f"guess-{index}", {"instances": [1]})

    text = server.get("/monitoring/prometheus/metrics").body.decode()
    assert "guess-" not in text
    assert ':tensorflow:serving:request_count{model_name="unknown",status="NOT_FOUND"}' in text
