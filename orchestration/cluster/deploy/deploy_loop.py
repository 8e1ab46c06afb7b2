"""The loop on a cluster, which `make deploy` and `orchard deploy` share: chart, photos, a training Job, the version live, a prediction."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchard.errors import GateRefused
from orchestration.cluster.deploy.install import install
from orchestration.cluster.deploy.port_forward import forward, status
from orchestration.cluster.deploy.readiness import pod_states
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.store_access import reach
from orchestration.cluster.kube_client import ClusterError
from orchestration.local.commands import CommandFailed, CommandRunner, display_path
from orchestration.local.demo_workspace import PARAMS
from orchestration.local.photo_steps import CHANNEL, predict_unseen

__all__ = ["CHANNEL", "DeployPlan", "DeployResult", "await_live", "run_loop"]

LIVE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """What goes through the loop.

    Attributes:
        images: whole references, by the chart's name for the image; what is left out is the chart's own. One is ``training``.
        values: more options for helm.
        put_photos: ingests the photos, where the environment names the store.
        unseen: the folder for the predicted photos, in that of the runner.
        airflow: whether the release has Airflow.
    """

    images: Mapping[str, str]
    values: tuple[str, ...]
    put_photos: Callable[[], None]
    unseen: str = "unseen"
    airflow: bool = False


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


def run_loop(release: Release, runner: CommandRunner, plan: DeployPlan) -> DeployResult:
    """Install the chart, train in the cluster, and predict photos with it; finished steps are not repeated.

    Args:
        release: the release.
        runner: runs the verbs in the folder with params.yaml; its environment names dataset and model.
        plan: what goes through the loop.

    Raises:
        OrchardError: a step failed; a verb's exit code is kept.
    """
    with runner.timed("chart", partial(pod_states, release)) as results:
        results.append(install(release, plan.images, plan.values))
    with reach(release, "ingest") as variables, runner.using(variables):
        plan.put_photos()
    with runner.timed("job train") as results:
        results.append(_train(runner, release, plan.images["training"]))
    with runner.timed("live", partial(pod_states, replace(release, component="serving"))) as results:
        version = await_live(release, _promoted(runner, release))
        model = runner.environment["ORCHARD_MODEL"]
        results.append(f"version {version} of {model} in {' '.join(release.serving_pods())}")
    service = f"service/{release.fullname}-serving"
    dataset = runner.environment["ORCHARD_DATASET"]
    with forward(release, service, 8501) as url, runner.using({"ORCHARD_SERVER_URL": url}):
        predictions = list(predict_unseen(runner, dataset, "--channel", CHANNEL, folder=plan.unseen))
    return DeployResult(version, predictions, runner.seconds, plan.airflow)


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
        time.sleep(1)  # each question is a `kubectl`, whose CPU the pods need


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
