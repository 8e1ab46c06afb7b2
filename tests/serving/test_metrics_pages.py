"""Both metrics pages of both programs pass the official strict parsers, after every kind of request."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from serving.log import EventLog
from serving.metrics import MetricsRegistry
from serving.models_config import ModelConfig, render
from serving.server.server_metrics import ServerMetrics
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode
from serving.sync.sync_metrics import SyncMetrics
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, Sync, raw, until

PATH = "/monitoring/prometheus/metrics"
OPEN = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"}
ODD = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ['a"b', "a\\", "a\nb", "a\r", "\x00", "é", "🍎", "\u2028", "{}", 'le="1"', "# EOF", "x" * 128, "\udcff"]
    ),
)
FINITE = st.floats(0, 1e12)


def check(registry: MetricsRegistry) -> dict[str, int]:
    """Parse both formats strictly, compare them, and return the number of samples by family."""
    text = list(parse_text(registry.render().decode()))
    strict = list(parse_openmetrics(registry.render(open_metrics=True).decode()))
    assert len(text) == len(strict) == len(registry.metrics)
    assert {family.type for family in strict} <= {"counter", "gauge", "histogram"}
    assert [len(family.samples) for family in text] == [len(family.samples) for family in strict]
    return {family.name: len(family.samples) for family in strict}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ODD, ODD, st.sampled_from(list(StatusCode)), FINITE), max_size=5))
def test_the_servers_pages_are_strictly_valid_whatever_the_names(events):
    metrics = ServerMetrics(EventLog(as_json=False))

    for model, request_id, code, value in events:
        metrics.count(model, code)
        metrics.refused.add(str(400 + int(code)))
        metrics.latency.observe(value, model, "Predict", "REST", exemplar=request_id)
        metrics.runtime.observe(value, model, "Predict", "TF1")
        metrics.observe_run(3, value)
        metrics.loads.add(f"/models/{model}/1", "fail" if code else "success")
        metrics.load_latency.add(f"/models/{model}/1", amount=value)
        metrics.ready.set(float(bool(code)), model)
        metrics.label.set(value, model, request_id)
        metrics.state.set(1, model, "1", "AVAILABLE")

    samples = check(metrics.registry)
    assert samples["orchard_serving_refused"] == len({code for _, _, code, _ in events})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ODD, st.one_of(FINITE, st.just(float("inf")), st.just(float("nan")))), max_size=6))
def test_syncs_pages_are_strictly_valid_whatever_the_names(events):
    metrics = SyncMetrics()

    for name, value in events:
        metrics.failures.add(name)
        metrics.moves.add(name)
        metrics.bytes.add(amount=7)
        metrics.age.set(value)
        metrics.wanted.set(value, name)

    check(metrics.registry)


def scrape(program: Serve | Sync, path: str) -> dict[str, int]:
    """Scrape both formats of a running program and parse them strictly."""
    text = program.get(path)
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(parse_text(text.body.decode()))
    answer = program.send_request("GET", path, None, OPEN)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    strict = list(parse_openmetrics(answer.body.decode()))
    assert len(families) == len(strict)
    return {family.name: len(family.samples) for family in strict}


def head(extra: str = "", method: str = "POST", path: str = "/v1/models/m:predict") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


REFUSALS = {
    413: head("Content-Length: 99999999\r\n"),
    415: head("Content-Encoding: br\r\nContent-Length: 2\r\n") + b"{}",
    417: head("Expect: tea\r\nContent-Length: 2\r\n") + b"{}",
    431: head(f"X: {'x' * 40_000}\r\n"),
    501: head(method="TRACE"),
    505: b"GET / HTTP/2.0\r\n\r\n",
    400: b"rubbish\r\n\r\n",
    401: head("Content-Length: 2\r\nConnection: close\r\n") + b"{}",
}


@pytest.mark.parametrize("name", ["plain", 'quote"\\é 🍎\n'])
def test_every_kind_of_request_leaves_the_servers_pages_valid(zoo: Path, tmp_path: Path, name: str):
    (tmp_path / "tokens").write_text("a-secret-of-the-tests\n")
    (tmp_path / "models.config").write_text(
        render([ModelConfig(name, str(zoo / "matrix")), ModelConfig("gone" + name, str(tmp_path))])
    )
    options = ["--token-file", str(tmp_path / "tokens")]
    with Serve(tmp_path / "models.config", tmp_path / "log", ENVIRONMENT, *options, wait=False) as server:
        bearer = {"Authorization": "Bearer a-secret-of-the-tests"}
        until(lambda: b"AVAILABLE" in server.send_request("GET", PATH, None, bearer).body, "it is loaded")
        for status, request in REFUSALS.items():
            assert raw(server.port, request).startswith(f"HTTP/1.1 {status} ".encode())
        target = f"/v1/models/{quote(name, safe='')}"
        for number, body in enumerate(["{", '{"instances": [[1, 2, 3, 4]]}', '{"instances": []}']):
            more = {**bearer, "X-Request-Id": "a" * (100 + 14 * number)}
            server.send_request("POST", f"{target}:predict", body, more)
            server.send_request("POST", "/v1/models/nothing:classify", body, more)
            server.send_request("GET", f"{target}/metadata", None, more)

        samples = {}
        for accept in ({}, OPEN):
            answer = server.send_request("GET", PATH, None, {**bearer, **accept})
            parse = parse_openmetrics if accept else parse_text
            samples = {family.name: family for family in parse(answer.body.decode())}
        refused = {sample.labels["status"] for sample in samples["orchard_serving_refused"].samples}
        assert refused == {str(status) for status in REFUSALS}
        ready = {sample.labels["model_name"] for sample in samples["orchard_serving_model_ready"].samples}
        assert ready == {name, "gone" + name}


def test_syncs_pages_are_valid(registry, tmp_path):
    with Sync(tmp_path / "sync.log", registry.environment, "--no-engine") as sync:
        until(lambda: sync.get("/healthz").status == 200, "it answers")

        assert scrape(sync, "/metrics")["orchard_sync_failures"] >= 0


def test_an_error_of_a_load_is_counted_once():
    metrics = ServerMetrics(EventLog(as_json=False))
    metrics.loaded("/m/1", 0.1, ServingError(StatusCode.INTERNAL, "x"))

    assert check(metrics.registry)[":tensorflow:cc:saved_model:load_attempt_count"] == 1
