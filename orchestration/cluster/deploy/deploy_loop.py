"""The order of a deployment: cluster, images, chart, photos, a training Job, the version live, a photo answered."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.install import install
from orchestration.cluster.deploy.port_forward import forward, status
from orchestration.cluster.deploy.release import CHECKOUT, Release
from orchestration.cluster.deploy.store_access import reach
from orchestration.local.commands import CommandRunner
from orchestration.local.demo_workspace import lay
from orchestration.local.sample_data import SampleData, find, unseen

__all__ = ["DeployResult", "await_live", "deploy"]

MODEL = "fruits"
CHANNEL = "stable"
LIVE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class DeployResult:
    """What came of it.

    Attributes:
        version: the one that is live.
        predictions: an answer for each photo that was asked about, with the truth and the photo's path.
        seconds: by step, in order.
    """

    version: int
    predictions: list[dict[str, Any]]
    seconds: dict[str, float]


class _TimedCommands(CommandRunner):
    """Steps that keep their times."""

    def __init__(self, folder: Path, environment: dict[str, str], logs: Path) -> None:
        super().__init__(folder, environment, logs, again="make deploy")
        self.seconds: dict[str, float] = {}

    def tell(self, name: str, text: str, seconds: float) -> None:
        """Print one step's line and keep its time."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        super().tell(name, text, seconds)

    @contextmanager
    def using(self, variables: Mapping[str, str]) -> Iterator[None]:
        """Run the steps of the context with more variables."""
        before = self.environment
        self.environment = {**before, **variables}
        try:
            yield
        finally:
            self.environment = before

    @contextmanager
    def timed(self, name: str) -> Iterator[list[str]]:
        """Time what is done in the context, and tell of it with the words that were put into the list."""
        begin, said = time.monotonic(), list[str]()
        yield said
        self.tell(name, ", ".join(said), time.monotonic() - begin)


def deploy(
    place: Release,
    *,
    data: str | None,
    folder: Path,
    values: tuple[str, ...] = (),
    build: bool = True,
    airflow: bool = False,
) -> DeployResult:
    """Bring the loop onto the kind cluster and ask it about photos; what is done already is not done again.

    Args:
        place: the release; its context is that of a kind cluster, made if there is none.
        data: photos, as `make demo` takes them.
        folder: where each kind of photos gets a workspace.
        values: more options for helm.
        build: whether to build and push our images; False: run what was pushed last.
        airflow: whether Airflow runs there too; it comes up while a Job trains.

    Raises:
        OrchardError: a step failed, with the exit code of the verb if it was one.
    """
    source = find(data)
    workspace = folder / source.name
    lay(workspace, source)
    steps = _TimedCommands(workspace, _environment(source), workspace / "logs")
    with steps.timed("cluster") as said:
        registry = _script(steps, "cluster", "up", CLUSTER=place.context.removeprefix("kind-"))
        said.append(f"{place.context}, its registry at {registry}")
    with steps.timed("images") as said:
        programs = ("training", "serving", *(("airflow",) if airflow else ()))
        if build:
            _script(steps, "images", "--push", registry, *programs)
        if airflow:
            _script(steps, "cluster", "bring", "POSTGRES_IMAGE", CLUSTER=place.context.removeprefix("kind-"))
            values = (*values, "--set", "airflow.enabled=true", "--set", f"dataset={source.name}")
        references = images.references(registry, airflow=airflow)
        said.append(f"{', '.join(programs)} in {registry}")
    with steps.timed("chart") as said:
        said.append(install(place, references, values))
    paths = source.paths or (_drawn(steps),)
    _ingest(steps, place, source, paths)
    with steps.timed("job train") as said:
        said.append(_train(steps, place, references["training"]))
    with steps.timed("live") as said:
        version = await_live(place, _promoted(steps, place))
        said.append(f"version {version} of {MODEL} in {' '.join(place.serving_pods())}")
    return DeployResult(version, list(_asked(steps, place, source, paths)), steps.seconds)


def _environment(source: SampleData) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHARD_", "AWS_"))}
    here = str(Path(sys.executable).parent)
    return {
        **clean,
        "PATH": here + os.pathsep + clean.get("PATH", ""),
        "ORCHARD_DATASET": source.name,
        "ORCHARD_MODEL": MODEL,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _script(steps: CommandRunner, name: str, *arguments: str, **variables: str) -> str:
    """Run a script of scripts/; returns its last line of output, shows what it says on stderr."""
    done = subprocess.run(  # noqa: S603  our own script
        [str(CHECKOUT / "scripts" / name), *arguments],
        env={**steps.environment, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    if done.returncode != 0:
        raise ClusterError(f"scripts/{name} {' '.join(arguments)} failed", hint="its own words stand above")
    return (done.stdout.strip().splitlines() or [""])[-1]


def _drawn(steps: CommandRunner) -> Path:
    folder = steps.folder / "synthetic"  # the name that data/schema.yaml knows as turntable photos
    if not folder.exists():
        steps.verb("synthetic", str(folder))
    return folder


def _ingest(steps: _TimedCommands, place: Release, source: SampleData, paths: tuple[Path, ...]) -> None:
    with reach(place, "ingest") as found, steps.using(found):
        steps.verb("ingest", *map(str, paths), *(("--classes", ",".join(source.classes)) if source.classes else ()))


def _train(steps: _TimedCommands, place: Release, image: str) -> str:
    """Run the Job, unless the same photos were trained with the same parameters by the same image; returns its result."""
    index = steps.folder / "data" / steps.environment["ORCHARD_DATASET"] / "index.json"
    parts = (index.read_bytes(), (steps.folder / "params.yaml").read_bytes(), image.encode())
    run_id = "deploy-" + hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:12]
    for job in place.get("jobs"):
        failed = any(item["type"] == "Failed" for item in job.get("status", {}).get("conditions", []))
        if failed and job["metadata"]["name"].endswith(run_id):  # what made it fail may have been put right
            place.kubectl("delete", "job", job["metadata"]["name"])
    with steps.using({"ORCHARD_RUN_ID": run_id}):
        output, _ = steps.run("job", "train", *place.options, "--params", "params.yaml")
    return output.strip().splitlines()[-1]


def _promoted(steps: _TimedCommands, place: Release) -> int:
    """The version that the channel means, by what the registry says."""
    with reach(place, "sync") as found, steps.using(found):
        output, _ = steps.run("history", "--json")
    entries = [item for item in json.loads(output)["history"] if item["channel"] == CHANNEL]
    if not entries:
        raise ClusterError(f"the training Job ended well and {CHANNEL} means no version", hint="orchard history")
    return int(max(entries, key=lambda item: int(item["generation"]))["version"])


def await_live(place: Release, version: int, seconds: float = LIVE_SECONDS) -> int:
    """Wait until every pod of the model server says that it serves this version on the channel.

    Raises:
        ClusterError: it did not come to that in time; the message holds what `sync` says.
    """
    deadline = time.monotonic() + seconds
    while True:
        told = {pod: _told(place, pod) for pod in place.serving_pods()}
        if told and all(found == version for found in told.values()):
            return version
        if time.monotonic() > deadline:
            raise ClusterError(
                f"version {version} is not live after {seconds:.0f} s: {told}",
                hint="`make doctor` looks for the reason, `make evidence` keeps all that is known",
            )
        time.sleep(0.5)


def _told(place: Release, pod: str) -> int | str:
    """The version that a pod serves on the channel, or why none."""
    try:
        found: dict[str, Any] = status(place, pod)
    except ClusterError as error:
        return error.message
    channel = found["channels"].get(CHANNEL, {})
    if found["ready"] and channel.get("live"):
        return int(channel["served"])
    return "; ".join(map(str, found["problems"].values())) or "not ready"


def _asked(
    steps: _TimedCommands, place: Release, source: SampleData, paths: tuple[Path, ...]
) -> Iterator[dict[str, Any]]:
    """Ask about photos that training never saw, through a forwarded port."""
    with forward(place, f"service/{place.fullname}-serving", 8501) as url, steps.using({"ORCHARD_SERVER_URL": url}):
        for truth, archive, body in unseen(source, paths):
            photo = steps.folder / "unseen" / f"{truth}-{archive}.jpg"
            photo.parent.mkdir(exist_ok=True)
            photo.write_bytes(body)
            output, seconds = steps.run("predict", str(photo), "--label", CHANNEL, "--json")
            answer: dict[str, Any] = json.loads(output)["predictions"][0]
            said = f"{answer['label']}, {100 * answer['probability']:.1f} %"
            steps.tell("predict", f"{said} (a photo of {truth} from {archive} that training never saw)", seconds)
            yield {**answer, "truth": truth, "path": str(photo)}
