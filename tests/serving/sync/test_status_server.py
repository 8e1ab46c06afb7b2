"""The status page of sync keeps the rules of HTTP that the server keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from serving.listening import listen
from serving.sync.status_server import StatusServer
from serving.sync.sync_metrics import SyncMetrics
from serving.sync.sync_state import SyncState
from tests.serving.programs import raw, send_request
from tests.serving.server.echo_server import heads


def _status() -> Any:
    observed = SimpleNamespace(statuses=None, downloaded=set(), pointers={})
    return SimpleNamespace(
        state=SyncState(1, "m"), observed=observed, ready=False, silent_s=0.0, last_success=0.0, requests=0,
        engine_url="", store="s", problems={"store": "ä"}, advice={}, is_live=lambda name: False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = listen("127.0.0.1", 0)
    StatusServer(listener, _status, SyncMetrics())
    return listener.getsockname()[1]


LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /healthz?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
        (b"GET /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 503),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", 200),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 405),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
)
def test_a_message_has_one_answer_and_the_connection_continues(port, message, status):
    assert heads(raw(port, message + LAST)) == [status, 200]


def test_it_announces_keep_alive_to_http_1_0(port):
    received = raw(port, b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST)

    assert received.count(b"Connection: keep-alive\r\n") == 1


def test_it_refuses_what_is_too_large(port):
    assert heads(raw(port, b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")) == [413]


def test_its_document_is_utf_8(port):
    assert json.loads(send_request(port, "GET", "/status").body)["problems"] == {"store": "ä"}
