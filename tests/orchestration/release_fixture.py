"""A release without a cluster: `kubectl` is a program that reads a file, Airflow and `sync` answer over real HTTP."""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orchard.signing import KeyPair
from orchestration.cluster.deploy.release import Release

__all__ = ["RELEASE", "FakeAirflow", "FakeAirflowServer", "ReleaseFixture", "task"]

PASSWORD = "ücret word"  # noqa: S105 (a test's)
STATE = ("objects", "ports", "contexts", "silent", "log")
RELEASE = Release(context="kind-orchard", namespace="fruit", name="shop")

KUBECTL = r"""
import json, os, signal, sys
from pathlib import Path
here = Path(__file__).parent
cluster = json.loads((here / "cluster.json").read_text())
if sys.argv[1] == "config":
    sys.exit(print("\n".join(cluster["contexts"])))
if "--raw" in sys.argv:
    sys.exit(cluster["silent"] or 0)
assert sys.argv[1:5] == ["--context", "kind-orchard", "--namespace", "fruit"], sys.argv
verb, *rest = sys.argv[5:]
if verb == "port-forward":
    _, target, ports = rest
    port = cluster["ports"].get(target + ports)
    if port is None:
        sys.exit(f"Error from server (NotFound): {target} not found")
    (here / "forwarding").open("a").write(f"{os.getpid()}\n")
    print(f"Forwarding from 127.0.0.1:{port} -> {ports[1:]}", flush=True)
    signal.pause()
if verb == "logs":
    sys.exit(print(cluster["log"]))
if rest[0] == "--filename=-":
    sys.stdin.read()
    sys.exit(print(json.dumps({"kind": "List", "items": cluster["objects"].get("manifest", [])})))
objects = cluster["objects"].get(rest[0], [])
component = " ".join(rest).partition("app.kubernetes.io/component=")[2].partition(" ")[0]
if component:
    objects = [item for item in objects if item["metadata"]["labels"]["app.kubernetes.io/component"] == component]
if "--selector" in rest or any(word.startswith("--field-selector") for word in rest):
    print(json.dumps({"kind": "List", "items": objects}))
else:
    named = [item for item in objects if item["metadata"]["name"] == rest[1]]
    if not named:
        sys.exit(f'Error from server (NotFound): {rest[0]} "{rest[1]}" not found')
    print(json.dumps(named[0]))
"""

Reply = tuple[int, Any]


class FakeAirflowServer:
    """Answers JSON over HTTP on a free port of loopback, by one function; records the requests."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], Any], Reply]) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(answer))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self, answer: Callable[[str, str, dict[str, str], Any], Reply]) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class FakeAirflowHandler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                document = json.loads(raw) if raw else None
                requests.append((self.command, self.path, document))
                code, body = answer(self.command, self.path, dict(self.headers), document)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = handle_any  # noqa: N815 (what the standard library calls)

            def log_message(self, *args: Any) -> None:
                pass

        return FakeAirflowHandler


def task(name: str, state: str | None, began: str | None = None, seconds: float | None = None, tries: int = 1) -> Any:
    """Return a task of a run, as in Airflow's API."""
    return {"task_id": name, "state": state, "start_date": began, "duration": seconds, "try_number": tries}


class FakeAirflow:
    """The used part of Airflow's API: log-in, logs, and runs that advance with every request."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        """The replies to the next requests, whatever they are."""
        self.timeline: list[tuple[str, list[Any]]] = [("success", [])]
        """A run's states with its tasks; each request of the run advances it by one."""
        self.runs: dict[str, Any] = {}
        self.health: dict[str, Any] = {"scheduler": {"status": "healthy"}}
        self.broken: list[Any] = []
        """What it reports of files that it cannot read."""
        self.logs: dict[str, list[Any]] = {}
        self.tokens = 0
        self.requested = False
        self.server = FakeAirflowServer(self._answer)

    @property
    def requests(self) -> list[tuple[str, str, Any]]:
        """The requests to its API, without log-ins."""
        return [item for item in self.server.requests if item[1] != "/auth/token"]

    def _answer(self, method: str, path: str, headers: dict[str, str], document: Any) -> Reply:
        if path == "/auth/token":
            if document != {"username": "admin", "password": PASSWORD}:
                return 401, {"detail": "Invalid credentials"}
            self.tokens += 1
            return 201, {"access_token": f"token-{self.tokens}"}
        if self.replies:
            return self.replies.pop(0)
        if headers.get("Authorization") != f"Bearer token-{self.tokens}":
            return 401, {"detail": "Invalid JWT token"}
        return self._api(method, path.removeprefix("/api/v2"), document)

    def _api(self, method: str, path: str, document: Any) -> Reply:
        if path == "/monitor/health":
            return 200, self.health
        if path == "/importErrors":
            return 200, {"import_errors": self.broken}
        if path == "/backfills":
            return 200, {"id": 7}
        if method == "POST":
            if document["dag_run_id"] in self.runs:
                return 409, {"detail": "DAGRun with this id already exists"}
            self.runs[document["dag_run_id"]] = document
            return 200, document
        if "/logs/" in path:
            return 200, {
                "content": self.logs[path.split("/taskInstances/")[1].partition("?")[0].replace("/logs/", "/")]
            }
        if path.endswith("/taskInstances"):
            return 200, {"task_instances": self.timeline[0][1]}
        if "?order_by" in path:
            return 200, {"dag_runs": [{"dag_run_id": name} for name in self.runs]}
        if method == "PATCH":
            return 200, {}
        if self.requested and len(self.timeline) > 1:
            self.timeline.pop(0)
        self.requested = True
        return 200, {"dag_run_id": path.rsplit("/", 1)[1], "state": self.timeline[0][0]}


class ReleaseFixture:
    """A fake cluster behind a `kubectl` program: objects, and ports to forward.

    Args:
        folder: the program's folder, for the PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, list[Any]] = {}
        self.ports: dict[str, int] = {}
        self.contexts = [RELEASE.context]
        self.silent = ""
        """Why the cluster does not answer."""
        self.log = ""
        """What each container has logged."""
        folder.mkdir()
        program = folder / "kubectl"
        program.write_text(f"#!{sys.executable} -IS\n{KUBECTL}")
        program.chmod(0o755)
        self.save()

    def save(self) -> None:
        """Write the state for `kubectl`."""
        draft = self.folder / "draft"
        draft.write_text(json.dumps({key: value for key, value in vars(self).items() if key in STATE}))
        draft.replace(self.folder / "cluster.json")

    def add(self, kind: str, name: str, component: str = "", **more: Any) -> None:
        """Add an object."""
        metadata = {"name": name, "labels": {"app.kubernetes.io/component": component}}
        self.objects.setdefault(kind, []).append({"kind": kind, "metadata": metadata, **more})
        self.save()

    def ready_pod(self, name: str, component: str) -> None:
        """Add a pod that is ready."""
        self.add("pods", name, component, status={"conditions": [{"type": "Ready", "status": "True"}]})

    def secret(self, name: str, **data: str) -> None:
        """Add a Secret; an underscore in a key becomes a hyphen."""
        entries = {key.replace("_", "-"): b64encode(value.encode()).decode() for key, value in data.items()}
        self.add("secret", name, data=entries)

    def forward(self, target: str, port: int, to: int) -> None:
        """Forward a target's port to a port of this machine."""
        self.ports[f"{target}:{port}"] = to
        self.save()

    def install_airflow(self, airflow: FakeAirflow) -> None:
        """Add the objects of a release with Airflow."""
        self.add("deployments", "shop-orchard-airflow-api")
        self.ready_pod("shop-orchard-airflow-api-1", "airflow-api")
        self.secret("shop-orchard-airflow", admin_password=PASSWORD)
        self.forward("service/shop-orchard-airflow", 8080, airflow.server.port)

    def install_store(self, environment: Mapping[str, str], keys: KeyPair) -> None:
        """Add the objects of a release whose store is the one of these settings."""
        file = Path(environment["ORCHARD_STORE_CREDENTIALS_FILE"])
        self.secret("shop-orchard-store-trainer", credentials=file.read_text())
        signing = {"trusted-keys.pem": keys.public.read_text(), "signing-key.pem": keys.private.read_text()}
        self.secret("shop-orchard-signing", **signing)
        sync = {"name": "sync", "env": [{"name": "ORCHARD_STORE_URL", "value": environment["ORCHARD_STORE_URL"]}]}
        self.add("deployment", "shop-orchard-serving", spec={"template": {"spec": {"initContainers": [sync]}}})
        port = int(environment["ORCHARD_STORE_ENDPOINT"].rsplit(":", 1)[1])
        self.forward("service/shop-orchard-store", 8333, port)

    def forwarding(self) -> list[int]:
        """Return the ids of all processes that forwarded a port, the oldest first, ended ones too."""
        path = self.folder / "forwarding"
        return [int(line) for line in path.read_text().split()] if path.exists() else []
