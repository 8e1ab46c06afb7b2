"""A cluster that accepts a connection and never answers blocks no call: against a real socket."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from orchestration.cluster import jobs, kube_client
from orchestration.cluster.deploy.release import run
from orchestration.cluster.kube_client import ClusterConnection, ClusterError, connect, translate_errors


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(kube_client, "READ_SECONDS", 0.3)
    monkeypatch.setattr(jobs, "STREAM_SECONDS", 0.3)


@pytest.fixture
def reach(tmp_path, monkeypatch):
    """Connect to an address, by a kubeconfig."""

    def connect_to(address: str) -> ClusterConnection:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "fruit"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        return connect(context="x")

    return connect_to


@pytest.fixture
def silent(reach):
    """A cluster that accepts every connection and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield reach(f"http://127.0.0.1:{server.getsockname()[1]}")


CALLS = {
    "get": lambda cluster: cluster.core.read_namespaced_secret("keys", "fruit"),
    "list": lambda cluster: cluster.core.list_namespaced_pod("fruit"),
    "create": lambda cluster: cluster.batch.create_namespaced_job("fruit", {}),
    "patch": lambda cluster: cluster.batch.patch_namespaced_job("train", "fruit", {}),
    "log": lambda cluster: list(jobs._lines(cluster, "train", "base")),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_silent_cluster_ends_every_call_with_a_clear_error(silent, call):
    assert silent.namespace == "fruit"
    begin = time.monotonic()

    with (
        pytest.raises(ClusterError, match=r"calling: the cluster does not answer|reading .* does not answer"),
        translate_errors("calling"),
    ):
        CALLS[call](silent)

    assert time.monotonic() - begin < 5


class _Stuttering(BaseHTTPRequestHandler):
    """A container's log that stalls after its second line and is complete the second time."""

    protocol_version = "HTTP/1.1"
    lines = tuple(f"2026-11-28T21:00:0{second}.000000000Z epoch {second}\n".encode() for second in range(4))
    requests: list[str]

    def do_GET(self) -> None:
        self.send_response(200)
        if "/log" not in self.path:
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            state = '{"terminated": {"exitCode": 0}}' if len(self.requests) > 1 else '{"running": {}}'
            status = (
                f'{{"name": "base", "state": {state}, "image": "", "imageID": "", "ready": true, "restartCount": 0}}'
            )
            self.wfile.write(
                f'{{"spec": {{"containers": [{{"name": "base"}}]}}, "status": {{"containerStatuses": [{status}]}}}}'.encode()
            )
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.requests.append(self.path)
        first = len(self.requests) == 1
        for line in self.lines[:2] if first else self.lines:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        if first:
            time.sleep(2)  # longer than the window
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args) -> None:
        pass


def test_a_stalled_log_is_requested_again_and_no_line_comes_twice(reach):
    _Stuttering.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stuttering) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        lines = list(jobs._lines(reach(f"http://127.0.0.1:{server.server_port}"), "train", "base"))
        server.shutdown()

    assert lines == [f"epoch {second}" for second in range(4)]
    assert ["sinceSeconds" in path for path in _Stuttering.requests] == [False, True]


def test_a_hanging_script_is_killed_with_its_children(tmp_path):
    started = tmp_path / "started"
    command = ["sh", "-c", f"{sys.executable} -c 'import time; time.sleep(60)' & echo $! > {started}; wait"]

    with pytest.raises(ClusterError, match="did not end within"):
        run(command, seconds=1)

    stat = Path("/proc", started.read_text().strip(), "stat")
    deadline = time.monotonic() + 5
    with suppress(FileNotFoundError):
        while stat.read_text().split()[2] != "Z":
            assert time.monotonic() < deadline, "it still runs"
            time.sleep(0.05)
