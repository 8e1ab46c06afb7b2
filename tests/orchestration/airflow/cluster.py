"""The part of Kubernetes' API that a pod operator uses, over real HTTP: pods follow a test's plan."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Plan = Callable[[dict[str, Any]], list[dict[str, Any]]]
_POD = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods(?:/(?P<name>[^/]+))?(?P<log>/log)?")


def pending(reason: str = "", message: str = "") -> dict[str, Any]:
    """A pod that waits for its image or its volumes."""
    waiting = {"waiting": {"reason": reason or "ContainerCreating", "message": message}}
    return {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [_status(waiting)],
    }


def unschedulable(message: str) -> dict[str, Any]:
    """A pod for which no node has room."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def running() -> dict[str, Any]:
    """A pod that runs."""
    return {"phase": "Running", "containerStatuses": [_status({"running": {"startedAt": _now()}})]}


def ended(code: int, message: str = "", reason: str = "") -> dict[str, Any]:
    """A pod whose verb has ended."""
    terminated = {"exitCode": code, "message": message, "reason": reason or ("Completed" if code == 0 else "Error")}
    state = {"terminated": terminated | {"startedAt": _now(), "finishedAt": _now()}}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [_status(state)]}


def _status(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "base", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": "i"}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster:
    """Pods with a plan of states: each read of a pod takes it one state further."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        """Status and message of the replies to the next requests that create a pod."""
        self.plan: Plan = lambda pod: [running(), ended(0)]
        self._plans: dict[str, list[dict[str, Any]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> None:
        """Remove all pods and plans."""
        self.pods, self.created, self.deleted, self.events, self._plans = {}, [], [], [], {}
        self.refused.clear()
        self.refusals.clear()
        self.plan = lambda pod: [running(), ended(0)]

    def create(self, pod: dict[str, Any], created: str = "") -> dict[str, Any]:
        """Add a new pod."""
        name = pod["metadata"]["name"]
        pod["metadata"] |= {"uid": uuid.uuid4().hex, "creationTimestamp": created or _now()}
        self._plans[name] = list(self.plan(pod))
        pod["status"] = {"phase": "Pending"}
        self.pods[name] = pod
        self.created.append(json.loads(json.dumps(pod)))
        return pod

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a pod, one state further."""
        pod = self.pods.get(name)
        if pod is not None and self._plans[name]:
            pod["status"] = self._plans[name].pop(0)
        return pod

    def select(self, selector: str) -> list[dict[str, Any]]:
        """Return the pods that match a label selector."""

        def fits(labels: dict[str, str], term: str) -> bool:
            if term.startswith("!"):
                return term[1:] not in labels
            name, unequal, value = term.partition("!=")
            if unequal:
                return labels.get(name) != value
            name, equal, value = term.partition("=")
            return labels.get(name) == value if equal else name in labels

        terms = [term for term in selector.split(",") if term]
        return [pod for pod in self.pods.values() if all(fits(pod["metadata"]["labels"], term) for term in terms)]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Answer a request."""
        if path.endswith("/events"):
            return 200, {"kind": "EventList", "metadata": {"resourceVersion": "1"}, "items": self.events}
        match = _POD.fullmatch(path)
        if match is None:
            self.refused.append(f"{method} {path}")
            return 403, {"kind": "Status", "message": f"the operator has no right to {method} {path}"}
        name = match["name"]
        if name is None:
            if method == "POST" and self.refusals:
                code, message = self.refusals.pop(0)
                return code, {"kind": "Status", "message": message}
            if method == "POST":
                return 201, body if query.get("dryRun") else self.create(body)
            return 200, {"kind": "PodList", "metadata": {}, "items": self.select(query.get("labelSelector", ""))}
        if name not in self.pods:
            return 404, {"kind": "Status", "message": f'pods "{name}" not found'}
        if match["log"]:
            return 200, "loss 0.1\nloss 0.05\n"
        if method == "DELETE":
            self.deleted.append(name)
            return 200, self.pods.pop(name)
        if method == "PATCH":
            self.pods[name]["metadata"]["labels"] |= body["metadata"]["labels"]
            return 200, self.pods[name]
        return 200, self.read(name)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class FakeClusterHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                url = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                code, document = cluster.answer(self.command, url.path, query, json.loads(raw) if raw else None)
                text = isinstance(document, str)
                content = document.encode() if text else json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Type", "text/plain" if text else "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = do_PATCH = handle_any  # noqa: N815 (what the standard library calls)

            def log_message(self, *args: Any) -> None:
                pass

        return FakeClusterHandler
