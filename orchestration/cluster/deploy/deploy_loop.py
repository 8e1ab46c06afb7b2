"""The order of a deployment: cluster, images, chart, photos, a training Job, the version live, a photo predicted."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.install import install
from orchestration.cluster.deploy.port_forward import forward, status
from orchestration.cluster.deploy.release import CHECKOUT, Release, run
from orchestration.cluster.deploy.store_access import reach
from orchestration.local.commands import CommandRunner
from orchestration.local.demo_workspace import lay
from orchestration.local.photo_steps import CHANNEL, MODEL, ingest, photo_paths, predict_unseen, step_environment
from orchestration.local.sample_data import find

__all__ = ["CHANNEL", "DeployResult", "await_live", "deploy"]

LIVE_SECONDS = 600.0
SCRIPT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class DeployResult:
    """The result of a deployment.

    Attributes:
        version: the one that is live.
        predictions: one for each photo, with the true class and the photo's path.
        seconds: by step, in order.
    """

    version: int
    predictions: list[dict[str, Any]]
    seconds: dict[str, float]


def deploy(
    place: Release,
    *,
    data: str | None,
    folder: Path,
    values: tuple[str, ...] = (),
    build: bool = True,
    airflow: bool = False,
) -> DeployResult:
    """Bring the loop onto the kind cluster and predict photos with it; steps that are done are not repeated.

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
    steps = CommandRunner(workspace, step_environment(source), workspace / "logs", again="make deploy")
    with steps.timed("cluster") as words:
        registry = _script(steps, "cluster", "up", CLUSTER=place.context.removeprefix("kind-"))
        words.append(f"{place.context}, its registry at {registry}")
    with steps.timed("images") as words:
        programs = ("training", "serving", *(("airflow",) if airflow else ()))
        if build:
            _script(steps, "images", "--push", registry, *programs)
        if airflow:
            _script(steps, "cluster", "bring", "POSTGRES_IMAGE", CLUSTER=place.context.removeprefix("kind-"))
            values = (*values, "--set", "airflow.enabled=true", "--set", f"dataset={source.name}")
        references = images.references(registry, airflow=airflow)
        words.append(f"{', '.join(programs)} in {registry}")
    with steps.timed("chart") as words:
        words.append(install(place, references, values))
    paths = photo_paths(steps, source)
    with reach(place, "ingest") as variables, steps.using(variables):
        ingest(steps, source, paths)
    with steps.timed("job train") as words:
        words.append(_train(steps, place, references["training"]))
    with steps.timed("live") as words:
        version = await_live(place, _promoted(steps, place))
        words.append(f"version {version} of {MODEL} in {' '.join(place.serving_pods())}")
    with forward(place, f"service/{place.fullname}-serving", 8501) as url, steps.using({"ORCHARD_SERVER_URL": url}):
        predictions = list(predict_unseen(steps, source, paths, "--label", CHANNEL))
    return DeployResult(version, predictions, steps.seconds)


def _script(steps: CommandRunner, name: str, *arguments: str, **variables: str) -> str:
    """Run a script of scripts/; returns the last line of its output, its standard error is shown."""
    command = [str(CHECKOUT / "scripts" / name), *arguments]
    environment = {**steps.environment, **variables}
    output = run(command, environment=environment, seconds=SCRIPT_SECONDS, show_errors=True)
    return (output.strip().splitlines() or [""])[-1]


def _train(steps: CommandRunner, place: Release, image: str) -> str:
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


def _promoted(steps: CommandRunner, place: Release) -> int:
    """The version that the channel points to, by the registry's history."""
    with reach(place, "sync") as variables, steps.using(variables):
        output, _ = steps.run("history", "--json")
    entries = [item for item in json.loads(output)["history"] if item["channel"] == CHANNEL]
    if not entries:
        raise ClusterError(f"the training Job succeeded, but {CHANNEL} points to no version", hint="orchard history")
    return int(max(entries, key=lambda item: int(item["generation"]))["version"])


def await_live(place: Release, version: int, seconds: float = LIVE_SECONDS) -> int:
    """Wait until every pod of the model server reports that it serves this version on the channel.

    Raises:
        ClusterError: not in time; the message holds what each `sync` reports.
    """
    deadline = time.monotonic() + seconds
    while True:
        served = {pod: _served(place, pod) for pod in place.serving_pods()}
        if served and all(found == version for found in served.values()):
            return version
        if time.monotonic() > deadline:
            raise ClusterError(
                f"version {version} is not live after {seconds:.0f} s: {served}",
                hint="`make doctor` finds the reason, `make evidence` keeps all that is known",
            )
        time.sleep(0.5)


def _served(place: Release, pod: str) -> int | str:
    """The version that a pod serves on the channel, or why it serves none."""
    try:
        document: dict[str, Any] = status(place, pod)
    except ClusterError as error:
        return error.message
    channel = document["channels"].get(CHANNEL, {})
    if document["ready"] and channel.get("live"):
        return int(channel["served"])
    return "; ".join(map(str, document["problems"].values())) or "not ready"
