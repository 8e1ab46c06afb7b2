"""Several processes on one port: all answer, one that dies is replaced, all drain, and a port has one owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.models_config import ModelConfig, render
from tests.free_ports import free_ports
from tests.process_facts import children
from tests.serving.model_registry import ENVIRONMENT
from tests.serving.programs import Serve, send_request, until

BODY = {"instances": [[1, 2, 3, 4]]}
READY = "/readyz"


@pytest.fixture
def config(zoo: Path, tmp_path: Path) -> Path:
    path = tmp_path / "models.config"
    path.write_text(render(ModelConfig(name, str(zoo / name)) for name in ("slow", "matrix")))
    return path


def is_ready(port: int) -> bool:
    try:
        return send_request(port, "GET", READY).status == 200
    except OSError:
        return False


def start(config: Path, *options: str) -> Serve:
    return Serve(config, config.with_name("log"), ENVIRONMENT, "--workers", "2", *options)


def test_workers_share_the_port_and_each_has_one_of_its_own(config):
    own = free_ports(2)
    with start(config, "--worker-port", str(own)) as server:
        until(lambda: is_ready(own) and is_ready(own + 1), "both workers are ready")

        for _ in range(40):
            assert server.predict("matrix", BODY).json == {"predictions": [[7.0, 10.0]]}

        counts = []
        for port in (own, own + 1):
            text = send_request(port, "GET", "/monitoring/prometheus/metrics").body.decode()
            counts += [line for line in text.splitlines() if line.startswith(":tensorflow:serving:request_count{")]
        assert sum(float(line.split()[-1]) for line in counts) == 40
        assert len(counts) == 2, "one of them had everything"


def test_a_worker_that_dies_is_replaced_and_the_other_answers_meanwhile(config):
    own = free_ports(2)
    with start(config, "--worker-port", str(own)) as server:
        until(lambda: is_ready(own) and is_ready(own + 1), "both workers are ready")
        before = set(children(server.child.pid))
        assert len(before) == 2

        os.kill(min(before), signal.SIGKILL)

        until(lambda: len(children(server.child.pid)) == 1 or set(children(server.child.pid)) != before, "it is gone")
        assert server.predict("matrix", BODY).status == 200
        until(
            lambda: len(children(server.child.pid)) == 2 and set(children(server.child.pid)) != before,
            "another is there",
        )
        until(lambda: is_ready(own) and is_ready(own + 1), "both are ready again")
        assert "worker ended" in server.text


def test_sigterm_drains_all_of_them(config):
    with start(config) as server:
        pids = children(server.child.pid)

        os.kill(server.child.pid, signal.SIGTERM)

        assert server.child.wait() == 0
        assert server.text.count("draining signal=SIGTERM") == 2
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_workers_die_with_their_supervisor(config):
    with start(config) as server:
        pids = children(server.child.pid)

        server.kill()

        until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()], "no worker is left behind")


def test_a_port_that_workers_share_is_nobody_elses(config):
    with start(config) as server:
        command = [sys.executable, "-m", "orchard", "serve", "--port", str(server.port), "--models-config", str(config)]
        ended = subprocess.run(
            [*command, "--workers", "2"], env=ENVIRONMENT, capture_output=True, text=True, check=False
        )

        assert ended.returncode == 9
        assert f"port {server.port} on 127.0.0.1 is taken" in ended.stderr


def test_an_error_with_a_name_ends_them_all(config, tmp_path):
    (tmp_path / "tokens").write_text("")
    command = [
        sys.executable,
        "-m",
        "orchard",
        "serve",
        "--port",
        "0",
        "--models-config",
        str(config),
        "--workers",
        "2",
    ]
    ended = subprocess.run(
        [*command, "--token-file", str(tmp_path / "tokens")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 3
    assert "tokens" in ended.stderr
