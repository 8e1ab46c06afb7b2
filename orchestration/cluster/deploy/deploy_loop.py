"""The order of a deployment: cluster, images, chart, photos, a training Job, the version live, a photo predicted."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchard.errors import GateRefused
from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.install import current_values, install
from orchestration.cluster.deploy.port_forward import forward, status
from orchestration.cluster.deploy.readiness import pod_states
from orchestration.cluster.deploy.release import CHECKOUT, Release, run
from orchestration.cluster.deploy.store_access import reach
from orchestration.cluster.kube_client import ClusterError
from orchestration.local.commands import CommandFailed, CommandRunner, display_path
from orchestration.local.demo_workspace import PARAMS, prepare
from orchestration.local.photo_steps import CHANNEL, MODEL, ingest, photo_paths, predict_unseen, step_environment
from orchestration.local.sample_data import find

__all__ = ["CHANNEL", "DeployResult", "await_live", "deploy"]

LIVE_SECONDS = 600.0
SCRIPT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class DeployResult:
    """The result of a deployment.

    Attributes:
        version: the live one.
        predictions: one for each photo, with the true class and the photo's path.
        seconds: by step, in order.
        airflow: whether the release has Airflow.
    """

    version: int
    predictions: list[dict[str, Any]]
    seconds: dict[str, float]
    airflow: bool = False


def deploy(
    release: Release,
    *,
    data: str | None,
    folder: Path,
    params: Path | None = None,
    values: tuple[str, ...] = (),
    build: bool = True,
    airflow: bool = False,
) -> DeployResult:
    """Deploy the loop on the kind cluster and predict photos with it; finished steps are not repeated.

    Args:
        release: the release; its context is that of a kind cluster, which is created if there is none.
        data: photos, as for `make demo`.
        folder: the parent of the workspaces, one for each kind of photos.
        params: a file with parameters that replace those of a deployment, as for `make demo`.
        values: more options for helm.
        build: whether to build and push our images; False: use the images that were pushed last.
        airflow: whether to install Airflow too; it starts while a Job trains. If the release has it, it stays in any case.

    Raises:
        OrchardError: a step failed; a verb's exit code is kept.
    """
    source = find(data)
    prepare(workspace := folder / source.name, source, params)
    runner = CommandRunner(workspace, step_environment(source), workspace / "logs", resume_command="make deploy")
    with runner.timed("cluster") as results:
        registry = _script(runner, "cluster", "up", CLUSTER=release.context.removeprefix("kind-"))
        results.append(f"{release.context}, its registry at {registry}")
    if airflow:
        values = ("--set", "airflow.enabled=true", "--set", f"dataset={source.name}", *values)
    airflow = airflow or _has_airflow(release)
    with runner.timed("images") as results:
        programs = ("training", "serving", *(("airflow",) if airflow else ()))
        if build:
            _script(runner, "images", "--push", registry, *programs)
        if airflow:
            _script(runner, "cluster", "bring", "POSTGRES_IMAGE", CLUSTER=release.context.removeprefix("kind-"))
        references = images.references(registry, airflow=airflow)
        results.append(f"{', '.join(programs)} in {registry}")
    with runner.timed("chart", partial(pod_states, release)) as results:
        results.append(install(release, references, values))
    with reach(release, "ingest") as variables, runner.using(variables):
        ingest(runner, source, photo_paths(runner, source))
    with runner.timed("job train") as results:
        results.append(_train(runner, release, references["training"]))
    with runner.timed("live", partial(pod_states, replace(release, component="serving"))) as results:
        version = await_live(release, _promoted(runner, release))
        results.append(f"version {version} of {MODEL} in {' '.join(release.serving_pods())}")
    service = f"service/{release.fullname}-serving"
    with forward(release, service, 8501) as url, runner.using({"ORCHARD_SERVER_URL": url}):
        predictions = list(predict_unseen(runner, source, "--channel", CHANNEL))
    return DeployResult(version, predictions, runner.seconds, airflow)


def _has_airflow(release: Release) -> bool:
    return bool(current_values(release).get("airflow", {}).get("enabled"))


def _script(runner: CommandRunner, name: str, *arguments: str, **variables: str) -> str:
    """Run a script of scripts/ and show its standard error; returns the last line of its output."""
    command = [str(CHECKOUT / "scripts" / name), *arguments]
    environment = {**runner.environment, **variables}
    output = run(command, environment=environment, seconds=SCRIPT_SECONDS, show_errors=True)
    return (output.strip().splitlines() or [""])[-1]


def _train(runner: CommandRunner, release: Release, image: str) -> str:
    """Run the Job, unless the same photos were trained with the same parameters by the same image; returns its result."""
    index = runner.folder / "data" / runner.environment["ORCHARD_DATASET"] / "index.json"
    parts = (index.read_bytes(), (runner.folder / "params.yaml").read_bytes(), image.encode())
    run_id = "deploy-" + hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:12]
    for job in release.get("jobs"):
        failed = any(item["type"] == "Failed" for item in job.get("status", {}).get("conditions", []))
        if failed and job["metadata"]["name"].endswith(run_id):  # the cause may have been corrected
            release.kubectl("delete", "job", job["metadata"]["name"])
    with runner.using({"ORCHARD_RUN_ID": run_id}):
        try:
            output, _ = runner.run("job", "train", *release.options, "--params", PARAMS)
        except CommandFailed as error:
            if error.exit_code == GateRefused.exit_code:
                file = display_path(runner.folder / PARAMS)
                error.hint = (
                    f"its thresholds are in the section gate of {file}, where your changes are kept; then {error.hint}"
                )
            raise
    return output.strip().splitlines()[-1]


def _promoted(runner: CommandRunner, release: Release) -> int:
    """Return the version that the channel points to, from the registry's history."""
    with reach(release, "sync") as variables, runner.using(variables):
        output, _ = runner.run("history", "--json")
    entries = [item for item in json.loads(output)["history"] if item["channel"] == CHANNEL]
    if not entries:
        raise ClusterError(f"the training Job succeeded, but {CHANNEL} points to no version", hint="orchard history")
    return int(max(entries, key=lambda item: int(item["generation"]))["version"])


def await_live(release: Release, version: int, seconds: float = LIVE_SECONDS) -> int:
    """Wait until every pod of the model server reports that it serves this version on the channel.

    Raises:
        ClusterError: the time is over; the message has what each `sync` reports.
    """
    deadline = time.monotonic() + seconds
    while True:
        served = {pod: _served(release, pod) for pod in release.serving_pods()}
        if served and all(item == version for item in served.values()):
            return version
        if time.monotonic() > deadline:
            raise ClusterError(
                f"version {version} is not live after {seconds:.0f} s: {served}",
                hint="`make doctor` finds the reason, `make evidence` saves the state of the cluster",
            )
        time.sleep(0.5)


def _served(release: Release, pod: str) -> int | str:
    """Return the version that a pod serves on the channel, or the reason why it serves none."""
    try:
        document: dict[str, Any] = status(release, pod)
    except ClusterError as error:
        return error.message
    channel = document["channels"].get(CHANNEL, {})
    if document["ready"] and channel.get("live"):
        return int(channel["served"])
    return "; ".join(map(str, document["problems"].values())) or "not ready"
