"""Traffic on the model server's Service during an incident, and the check of its predictions."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchard.client import ModelServer
from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release

CLIENT = "open_loop_client.py"
MODEL = "fruits"
TOLERANCE = 1e-4
SECONDS = float(os.environ.get("E2E_SECONDS", "20"))
LONGEST = 3600.0

Answers = list[tuple[str, float]]


@dataclass(frozen=True)
class TrafficRow:
    """One request and its answer; `kept`: over a kept connection."""

    sent: float
    seconds: float
    photo: int
    kept: bool
    status: int
    label: str
    probability: float


@dataclass
class ServiceTraffic:
    """The requests with their answers; complete when the context of `traffic` ends."""

    rows: list[TrafficRow] = field(default_factory=list)

    def failed(self) -> list[TrafficRow]:
        return [row for row in self.rows if row.status != 200]

    def wrong(self, *right: Answers) -> list[TrafficRow]:
        """Return the answers that no version gives."""
        return [row for row in self.rows if row.status == 200 and not any(_is(row, answers) for answers in right)]

    def of(self, answers: Answers, after: float, before: float = math.inf) -> list[bool]:
        """Return, for each answer to a request sent after a time (and before another), whether it is this version's."""
        return [_is(row, answers) for row in self.rows if row.status == 200 and after < row.sent < before]

    def figures(self) -> dict[str, Any]:
        times = sorted(row.seconds for row in self.rows if row.status == 200)
        return {
            "requests": len(self.rows),
            "failed": len(self.failed()),
            "p50_ms": round(1e3 * times[len(times) // 2], 1),
            "p99_ms": round(1e3 * times[int(len(times) * 0.99)], 1),
            "longest_ms": round(1e3 * times[-1], 1),
        }


def _is(row: TrafficRow, answers: Answers) -> bool:
    label, probability = answers[row.photo]
    return row.label == label and abs(row.probability - probability) <= TOLERANCE


def answers_of(release: Release, version: int, photos: list[bytes]) -> Answers:
    """Return a loaded version's predictions for the photos."""
    with forward(release, f"service/{release.fullname}-serving", 8501) as url, ModelServer(url) as server:
        predictions = server.predict(photos, MODEL, version=version)
    return [(item.label, item.probability) for item in predictions]


def say(*words: object) -> None:
    """Print figures at once; of standard output, pytest's workers show nothing."""
    print(*words, file=sys.stderr)


def until(condition: Any, seconds: float, what: str) -> Any:
    """Wait until a condition is true; returns its value.

    A question is often a program, `kubectl` or the doctor. Between two of them is twice the time of one, so that asking takes
    little of the CPU of what is waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if value := condition():
            return value
        now = time.monotonic()
        assert now < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(max(0.6, 2 * (now - asked)))


@contextmanager
def traffic(
    release: Release,
    photos: list[bytes],
    *,
    least: float = SECONDS,
    rate: float = 50.0,
    service: tuple[str, int] = ("serving", 8501),
    path: str = f"/v1/models/{MODEL}/labels/stable:predict",
) -> Iterator[ServiceTraffic]:
    """Send requests at a fixed rate from a pod in the namespace, from before the context begins until after it ends.

    Args:
        release: the model server's release.
        photos: the photos, in turn.
        least: the minimum time of the traffic, in seconds.
        rate: requests a second.
        service: the Service's suffix and port.
        path: of the requests.
    """
    name, result = f"load-{uuid.uuid4().hex[:8]}", ServiceTraffic()
    files = {CLIENT: Path(__file__).with_name(CLIENT).read_text("utf-8")}
    files["photos.json"] = json.dumps([base64.b64encode(photo).decode() for photo in photos])
    suffix, port = service
    arguments = [f"{release.fullname}-{suffix}", str(port), path, "/load/photos.json", str(rate), str(LONGEST)]
    release.kubectl("create", "--filename=-", stdin=json.dumps(_manifest(release, name, files, arguments)))
    try:
        until(lambda: "begun" in _log(release, name), 180, f"the pod {name} begins")
        begin = time.monotonic()
        yield result
        until(lambda: time.monotonic() - begin > least, least + 1, "enough traffic")
        release.kubectl("exec", name, "--", "sh", "-c", "kill -TERM 1")
        until(lambda: _phase(release, name) in ("Succeeded", "Failed"), 120, f"the pod {name} ends")
        result.rows += [TrafficRow(*row) for row in json.loads(_log(release, name).splitlines()[-1])]
    finally:
        release.kubectl("delete", f"pod/{name}", f"configmap/{name}", "--grace-period=1")


def _phase(release: Release, name: str) -> str:
    return str(release.get("pod", name)[0]["status"]["phase"])


def _log(release: Release, name: str) -> str:
    return "" if _phase(release, name) == "Pending" else release.kubectl("logs", name)


def _manifest(release: Release, name: str, files: Mapping[str, str], arguments: list[str]) -> dict[str, Any]:
    (deployment,) = release.get("deployment", f"{release.fullname}-serving")
    spec = deployment["spec"]["template"]["spec"]
    container = {
        "name": "load",
        "image": spec["containers"][0]["image"],
        "command": ["tini", "--", "python", f"/load/{CLIENT}", *arguments],
        "securityContext": spec["containers"][0]["securityContext"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "volumeMounts": [{"name": "load", "mountPath": "/load"}],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": spec["securityContext"],
        "containers": [container],
        "volumes": [{"name": "load", "configMap": {"name": name}}],
    }
    labels = {"app.kubernetes.io/name": "orchard-e2e-load"}
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": dict(files)},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": pod},
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}
