"""A release on a real cluster, a second version of its model, and evidence when a test fails."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from orchard.processes import ChildProcess
from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.evidence import collect
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.store_access import reach
from tests.e2e import job_photos
from tests.e2e.releases import ROOT, name_on_nodes, remove_leftovers
from tests.e2e.service_traffic import MODEL, until
from tests.e2e.timed_parts import PARTS, timed
from tests.serving.conftest import zoo  # noqa: F401  a fixture

HERE = Path(__file__).parent
RELEASE = Release(context="kind-orchard", namespace="orchard-e2e", name="orchard")
WORKSPACES = ROOT / ".orchard" / "cluster" / RELEASE.namespace
SMALL = (
    ("serving.replicas", "2"),
    # three of them besides training Jobs and another worker's release, on a node of two cores
    ("serving.resources.engine.requests.cpu", "50m"),
    ("serving.resources.sync.requests.cpu", "20m"),
    ("objectStore.resources.requests.cpu", "50m"),
    ("training.resources.heavy.requests.cpu", "100m"),
    ("training.resources.light.requests.cpu", "50m"),
)
VALUES = [part for key, value in SMALL for part in ("--set", f"{key}={value}")]
DURATIONS: list[tuple[str, float]] = []
"""What has taken how long, in seconds; filled where the summary is printed."""
SHARED_RELEASE = (
    "test_doctor",
    "test_existing_keys",
    "test_loop",
    "test_registry_jobs",
    "test_traffic",
    "test_training",
)
"""The modules that use the release of `deployed`: one worker runs them, one after the other."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect this folder only if it is named."""
    named = [Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


class ReleaseScheduling(LoadScopeScheduling):
    """Give the tests of a release to one worker; each other module, and each scenario, to any."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        if path.parent.name == "airflow":
            return path.parent.name
        if path.stem in SHARED_RELEASE:
            return "deployed"
        return nodeid if path.stem == "test_scenarios" else path.stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return ReleaseScheduling(config, log)


@contextmanager
def one_worker(run_folder: Path) -> Iterator[None]:
    """Keep the other workers out of this context."""
    with (run_folder / "e2e.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def keep_evidence(release: Release) -> Path:
    """Save a release's state in the cluster, in a folder of this test and release."""
    test = re.sub(r"[^\w.-]+", "-", os.environ.get("PYTEST_CURRENT_TEST", "test").split("::")[-1].split(" ")[0])
    folder = ROOT / ".orchard" / "cluster" / "evidence" / f"{test}-{release.namespace}"
    collect(release, folder)
    print(f"evidence: {folder}", file=sys.stderr)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        report.sections.append(("evidence", str(keep_evidence(RELEASE))))
    report.user_properties = [("part", part) for part in PARTS]  # a worker's; the summary is another process's
    PARTS.clear()
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record how long each test took, with its waits and parts."""
    DURATIONS.extend(part for name, part in report.user_properties if name == "part")
    DURATIONS.append((f"{report.nodeid.split('/')[-1]} {report.when}", report.duration))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how long each part took."""
    terminalreporter.section("how long it took")
    for name, seconds in DURATIONS:
        if seconds >= 1:
            terminalreporter.write_line(f"{seconds:7.1f} s  {name}")


@dataclass(frozen=True)
class DeployedRelease:
    """The deployment's printed document, and photos of its dataset."""

    release: Release
    document: dict[str, Any]
    workspace: Path
    photos: list[bytes]


def command(verb: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "orchestration.cluster.deploy", verb, *options, "--namespace", RELEASE.namespace]


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
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def _missing() -> list[str]:
    missing = [name for name in ("docker", "kind", "kubectl", "helm") if shutil.which(name) is None]
    if not missing and subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=60).returncode != 0:
        missing = ["Docker does not answer"]
    return missing


@pytest.fixture(scope="session")
def machine(run_folder: Path) -> None:
    """Docker and the programs, started if possible."""
    up = ROOT.parent / "shared" / "cluster" / "up"
    with one_worker(run_folder):
        if _missing() and up.exists():
            subprocess.run([up], check=True, timeout=1800)
    if missing := _missing():
        pytest.exit(f"no cluster can be created here: {', '.join(missing)}; and there is no {up}", returncode=1)


def run_script(name: str, *arguments: str) -> str:
    """Run a script of the project; returns the last word of its standard output."""
    with timed(f"scripts/{name} {' '.join(arguments)}"):
        done = subprocess.run(
            [ROOT / "scripts" / name, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=1800,
        )
    assert done.returncode == 0, f"scripts/{name} failed; its output is above"
    return (done.stdout.split() or [""])[-1]


@pytest.fixture(scope="session")
def registry(machine: None, run_folder: Path) -> str:
    """A kind cluster without what an interrupted run left there; returns the address of its registry."""
    removed = run_folder / "leftovers-removed"
    with one_worker(run_folder):
        address = run_script("cluster", "up")
        if os.environ.get("E2E_KEEP") != "1" and not removed.exists():
            remove_leftovers()
            removed.touch()
    return address


@pytest.fixture(scope="session")
def cluster(registry: str, run_folder: Path) -> str:
    """A kind cluster whose nodes have our images, under the names of images.env too; returns kind's name for it."""
    name = RELEASE.context.removeprefix("kind-")
    with one_worker(run_folder):
        run_script("images", "--push", registry, "training", "serving")
        with timed("images pulled by the node"):
            name_on_nodes(name, images.references(registry))
    return name


def _deploy() -> dict[str, Any]:
    data = job_photos.write(WORKSPACES / "photos")
    options = ["--json", "--no-build", "--data", str(data), *VALUES]
    done = subprocess.run(command("up", *options), capture_output=True, text=True, check=False, cwd=ROOT, timeout=3000)
    assert done.returncode == 0, done.stderr[-6000:] + done.stdout[-2000:]
    document: dict[str, Any] = json.loads(done.stdout)
    PARTS.extend((f"make deploy: {name}", seconds) for name, seconds in document["seconds"].items())
    return document


@pytest.fixture(scope="session")
def deployed(cluster: str) -> Iterator[DeployedRelease]:
    """The whole loop, deployed with two model servers; an earlier deployment if one was kept."""
    keep, kept = os.environ.get("E2E_KEEP") == "1", WORKSPACES / "deployed.json"
    try:
        if not (keep and kept.exists()):
            kept.unlink(missing_ok=True)
            WORKSPACES.mkdir(parents=True, exist_ok=True)
            document = _deploy()
            kept.write_text(json.dumps(document), encoding="utf-8")
        document = json.loads(kept.read_text("utf-8"))
        workspace = Path(document["predictions"][0]["path"]).parents[1]
        yield DeployedRelease(RELEASE, document, workspace, job_photos.sample(workspace))
    finally:
        if not keep:
            kept.unlink(missing_ok=True)
            subprocess.run(command("down"), check=False, cwd=ROOT, timeout=600)


@pytest.fixture(scope="session")
def release(deployed: DeployedRelease) -> Release:
    return deployed.release


@dataclass(frozen=True)
class Trained:
    """Two training Jobs that ran at once, one of which was killed after an epoch.

    Attributes:
        killed: the output of the first Job.
        spared: the output of the other Job.
        version: the first Job's version.
        other: the other Job's version.
        before: the earlier versions.
    """

    killed: str
    spared: str
    version: int
    other: int
    before: list[int]


def versions(release: Release = RELEASE) -> list[int]:
    with reach(release, "sync") as variables:
        listed = json.loads(orchard("versions", "--json", **variables))["versions"]
    return sorted(int(item["version"]) for item in listed)


def _job(stack: ExitStack, run_id: str, seed: int, log: Path, workspace: Path) -> ChildProcess:
    """Start a Job that publishes another, not better model; no channel points to it yet."""
    changes = (f"train.seed={seed}", "train.epochs=12", "gate.drop={all: 0.5}")
    options = ["--params", "params.yaml", *(part for item in changes for part in ("--set", item)), "--until", "publish"]
    job = [sys.executable, "-m", "orchard", "job", "train", *RELEASE.options, "--patience", "900", *options]
    variables = environment({"ORCHARD_RUN_ID": run_id})
    return stack.enter_context(ChildProcess(job, environment=variables, log=log, cwd=workspace))


@pytest.fixture(scope="session")
def second(deployed: DeployedRelease, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two more versions, by two training Jobs at once; one was killed after an epoch."""
    before, now, folder = versions(), int(time.time()), tmp_path_factory.mktemp("jobs")
    names = [f"e2e-{now}-killed", f"e2e-{now}-spared"]
    logs = [folder / name for name in names]
    with ExitStack() as stack:
        jobs = [
            _job(stack, name, seed, log, deployed.workspace)
            for name, seed, log in zip(names, (8, 9), logs, strict=True)
        ]
        pod = until(lambda: _trained_an_epoch(names[0]), 900, "an epoch of the training Job")
        kill_all(pod, "train")
        codes = [job.wait() for job in jobs]
    outputs = [log.read_text("utf-8") for log in logs]
    assert codes == [0, 0], outputs[0][-4000:] + outputs[1][-4000:]
    published = [int(_PUBLISHED.findall(text)[-1]) for text in outputs]
    return Trained(outputs[0], outputs[1], published[0], published[1], before)


_SECOND = re.compile(r"^epoch +2 of", re.MULTILINE)
_PUBLISHED = re.compile(r"^version (\d+) of \w+ in s3://", re.MULTILINE)


def _trained_an_epoch(run_id: str) -> str:
    """Return the Job's pod once its log has a whole epoch, and not the last; else an empty string."""
    for item in RELEASE.get("pods"):
        name = item["metadata"]["name"]
        running = [
            state["name"] for state in item["status"].get("initContainerStatuses", []) if "running" in state["state"]
        ]
        if run_id in name and "train" in running and _SECOND.search(RELEASE.kubectl("logs", name, "-c", "train")):
            return str(name)
    return ""


def kill_all(pod: str, container: str) -> None:
    """Send SIGKILL to all processes of a container but its PID 1, which ends then."""
    subprocess.run(
        RELEASE.kubectl_command("exec", pod, "-c", container, "--", "sh", "-c", "kill -9 -1"),
        capture_output=True,
        check=False,
        timeout=60,
    )
