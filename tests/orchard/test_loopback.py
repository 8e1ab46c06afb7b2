"""Behind a company's proxy, programs on one machine reach each other without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from orchard.client import ModelServer
from orchard.errors import ServerError
from orchard.loopback import is_loopback
from orchard.store import ports
from tests.orchard.scripted_server import answering

PROXY = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("store.localhost", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.example", False),
        ("", False),
        (None, False),
    ],
)
def test_which_hosts_are_this_machine(host, loopback):
    assert is_loopback(host) is loopback


def test_the_client_reaches_a_model_server_on_this_machine(monkeypatch):
    for name, value in PROXY.items():
        monkeypatch.setenv(name, value)
    with answering((200, {"model_version_status": []})) as there, ModelServer(there.url) as server:
        server.status("fruits")
        assert there.requests
    with ModelServer("http://server.example") as server, pytest.raises(ServerError):
        server.status("fruits")


def test_the_embedded_store_starts_and_answers(tmp_path):
    command = [sys.executable, "-m", "orchard"]
    inner = [*command, "store", "status", "--json"]
    port = str(ports.choose()["s3.port"])
    done = subprocess.run(
        [*command, "store", "run", "--dir", str(tmp_path / "store"), "--port", port, "--", *inner],
        env={**os.environ, **PROXY},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["conditional_writes"] == "honoured"
