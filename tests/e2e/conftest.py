"""A release on a real cluster, a second version of its model, and evidence when a test fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchard.processes import Child
from orchestration.cluster.deploy.evidence import collect
from orchestration.cluster.deploy.place import Place
from orchestration.cluster.deploy.store import reach
from tests.e2e.traffic import MODEL, until

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PLACE = Place(context="kind-orchard", namespace="orchard-e2e", release="orchard")
WORKSPACES = ROOT / ".orchard" / "cluster" / PLACE.namespace
TWO_PODS = (
    ("serving.replicas", "2"),
    ("serving.resources.engine.requests.cpu", "100m"),  # three of them beside a training Job on a node of two cores
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only who names this folder means it."""
    named = [Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        folder = ROOT / ".orchard" / "cluster" / "evidence" / item.name
        collect(PLACE, folder)
        report.sections.append(("evidence", str(folder)))
    return report


@dataclass(frozen=True)
class Deployed:
    """What the deployment printed, and the photos that it learned from."""

    place: Place
    document: dict[str, Any]
    workspace: Path
    photos: list[bytes]


def command(verb: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "orchestration.cluster.deploy", verb, *options, "--namespace", PLACE.namespace]


def environment(variables: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "ORCHARD_MODEL": MODEL, **variables}


def orchard(*arguments: str, cwd: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orchard", *arguments],
        env=environment(variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def _has_docker() -> bool:
    found = shutil.which("docker") is not None
    return found and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def cluster() -> None:
    """Docker and the programs, brought up where they can be."""
    up = ROOT.parent / "shared" / "cluster" / "up"
    if not _has_docker() and up.exists():
        subprocess.run([up], check=True, timeout=900)
    missing = [name for name in ("docker", "kind", "kubectl", "helm") if shutil.which(name) is None]
    if missing or not _has_docker():
        pytest.exit(f"no cluster can be made: {', '.join(missing) or 'Docker does not answer'}", returncode=1)


def _photos(workspace: Path, count: int = 60) -> list[bytes]:
    """Small test photos, out of the dataset itself, one class after the other."""
    import pyarrow.parquet as parquet

    found: dict[str, list[bytes]] = {}
    for path in sorted((workspace / "data").glob("*/*.parquet")):
        table = parquet.read_table(path, columns=["image", "label", "split"])
        for row in table.to_pylist():
            body = row["image"]["bytes"]
            if row["split"] == "test" and len(body) < 10_000:
                found.setdefault(row["label"], []).append(body)
    each = -(-count // len(found))
    return [body for label in sorted(found) for body in found[label][:each]][:count]


def _deploy() -> dict[str, Any]:
    values = [part for key, value in TWO_PODS for part in ("--set", f"{key}={value}")]
    done = subprocess.run(
        command("up", "--json", *values), capture_output=True, text=True, check=False, cwd=ROOT, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-6000:] + done.stdout[-2000:]
    document: dict[str, Any] = json.loads(done.stdout)
    print("seconds:", document["seconds"])
    return document


@pytest.fixture(scope="session")
def deployed(cluster: None) -> Iterator[Deployed]:
    """The loop, deployed whole, with two model servers; the one that was kept, where one was."""
    keep, kept = os.environ.get("E2E_KEEP") == "1", WORKSPACES / "deployed.json"
    try:
        if not (keep and kept.exists()):
            kept.unlink(missing_ok=True)
            document = _deploy()
            kept.write_text(json.dumps(document), encoding="utf-8")
        document = json.loads(kept.read_text("utf-8"))
        workspace = Path(document["predictions"][0]["path"]).parents[1]
        yield Deployed(PLACE, document, workspace, _photos(workspace))
    finally:
        if not keep:
            kept.unlink(missing_ok=True)
            subprocess.run(command("down"), check=False, cwd=ROOT, timeout=400)


@pytest.fixture(scope="session")
def place(deployed: Deployed) -> Place:
    return deployed.place


@dataclass(frozen=True)
class Retried:
    """A training Job whose pod was killed: what it said, and the version that it published."""

    log: str
    version: int
    versions_before: int


def versions() -> list[dict[str, Any]]:
    with reach(PLACE, "sync") as found:
        listed: list[dict[str, Any]] = json.loads(orchard("versions", "--json", **found))["versions"]
    return listed


@pytest.fixture(scope="session")
def second(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Retried:
    """Another version, published by a training Job that was killed after an epoch; no channel means it yet."""
    before, run_id = len(versions()), f"e2e-{int(time.time())}"
    log = tmp_path_factory.mktemp("job") / "log"
    fewer = ("train.seed=8", "train.epochs=4", "gate.drop={all: 0.5}")  # another model, and no better one
    options = ["--params", "params.yaml", *(part for item in fewer for part in ("--set", item)), "--until", "publish"]
    job = [sys.executable, "-m", "orchard", "job", "train", *PLACE.options, *options]
    variables = environment({"ORCHARD_RUN_ID": run_id})
    with Child(job, environment=variables, log=log, cwd=deployed.workspace) as child:
        pod = until(lambda: _trained_an_epoch(run_id), 240, "an epoch of the training Job")
        kill_all(pod, "train")
        code = child.wait()
    said = log.read_text("utf-8")
    assert code == 0, said[-6000:]
    after = versions()
    return Retried(said, max(int(item["version"]) for item in after), before)


_SECOND = re.compile(r"^epoch +2 of", re.MULTILINE)


def _trained_an_epoch(run_id: str) -> str:
    """The Job's pod, once its log has a whole epoch and not the last."""
    for item in PLACE.get("pods"):
        name = item["metadata"]["name"]
        running = [
            state["name"] for state in item["status"].get("initContainerStatuses", []) if "running" in state["state"]
        ]
        if run_id in name and "train" in running and _SECOND.search(PLACE.kubectl("logs", name, "-c", "train")):
            return str(name)
    return ""


def kill_all(pod: str, container: str) -> None:
    """SIGKILL to all that runs in a container but its PID 1, which ends then."""
    subprocess.run(
        PLACE.kubectl_command("exec", pod, "-c", container, "--", "sh", "-c", "kill -9 -1"),
        capture_output=True,
        check=False,
        timeout=60,
    )
