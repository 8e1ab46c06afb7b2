"""A release with Airflow and a bucket for uploaded photos; no person takes part."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchard.client import ModelServer
from orchard.runs import records
from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.airflow_client import FINISHED, AirflowClient, reach_airflow
from orchestration.cluster.deploy.install import install, remove
from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.retrain_run import opened_store
from orchestration.names import run_id
from tests.airflow_requests import list_runs
from tests.e2e import job_photos
from tests.e2e.conftest import RELEASE, ROOT, keep_evidence, one_worker, run_script
from tests.e2e.service_traffic import MODEL, until

AIRFLOW = Release(os.environ.get("E2E_CONTEXT", RELEASE.context), "orchard-e2e-airflow", "orchard")
DATASET = "synthetic"  # may have any classes
FIRST = "2026-11-20"
AIRFLOW_FOLDER = ROOT / ".orchard" / "cluster" / AIRFLOW.namespace
EACH = {"Training": 60, "Test": 40}
PARTS = ("api", "scheduler", "processor", "triggerer")
RUN_SECONDS = 900.0
ORDER = ("test_airflow_runs", "test_refusals", "test_schedules", "test_crashes")
"""What can run beside the scheduled run comes before it, so that nothing only waits for its time."""
_VALUES = (
    *("airflow.enabled=true", f"dataset={DATASET}", "airflow.profile=short", "airflow.startSeconds=90"),
    *("airflow.schedules.ingest=", "airflow.schedules.batch=0 0 * * *", "airflow.schedules.housekeeping="),
    *("serving.resources.engine.requests.cpu=50m", "serving.resources.sync.requests.cpu=20m"),
    *("podSecurity.uid=1000680000", "podSecurity.gid=1000680000", "podSecurity.fsGroup=1000680000"),  # in no image
    *("objectStore.resources.requests.cpu=50m", "training.resources.heavy.requests.cpu=100m"),
    *("training.resources.light.requests.cpu=50m", "airflow.resources.scheduler.requests.cpu=50m"),
)
_CLOCK_MINUTES = 13
"""The delay of the scheduled run: by then Airflow has started and ingested the first photos, also beside another worker's release."""


@dataclass(frozen=True)
class Loop:
    """The release, its Airflow, and photos by class.

    Attributes:
        release: the release.
        airflow: its Airflow.
        photos: a folder with ``<split>/<class>/<photo>``.
        clock: the time of the scheduled run, in seconds since the epoch.
    """

    release: Release
    airflow: AirflowClient
    photos: Path
    clock: float

    def upload(self, folder: str, bodies: dict[str, bytes]) -> None:
        """Put objects into the bucket, as an uploader of photos does."""
        with opened_store(self.release, "uploader") as store, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: store.put(f"{folder}/{item[0]}", item[1]), bodies.items()))

    def of(self, *classes: str, last: bool = False, skip: int = 0) -> dict[str, bytes]:
        """Return some photos of classes, by ``<split>/<class>/<photo>``: evenly spaced, from the first or the last, after `skip`."""
        photos = {}
        for split, count in EACH.items():
            for label in classes:
                paths = sorted((self.photos / split / label).iterdir(), reverse=last)
                photos |= {
                    f"{split}/{label}/{path.name}": path.read_bytes()
                    for path in paths[skip :: len(paths) // count][:count]
                }
        return photos

    def objects(self, prefix: str, identity: str = "admin") -> dict[str, bytes]:
        """Return the objects below a prefix of the bucket."""
        with opened_store(self.release, identity) as store:
            return {stat.key: store.get(stat.key).body for stat in store.list(prefix)}

    def await_end(self, dag: str, run: str, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """Wait until a run has ended; returns its tasks by name."""
        until(lambda: self.airflow.run(dag, run)["state"] in FINISHED, seconds, f"the run {run} of {dag} ends")
        return {task["task_id"]: task for task in self.airflow.tasks(dag, run)}

    def ended(self, dag: str, run: str) -> dict[str, records.StepRecord]:
        """Return the records of a run's ended steps, from the store."""
        verbs = ("validate", "train", "evaluate", "gate", "publish", "promote", "ingest", "batch")
        with opened_store(self.release, "trainer") as store:
            ended = {verb: records.ended_step(store, run_id(dag, run), verb) for verb in verbs}
        return {verb: record for verb, record in ended.items() if record is not None}

    def versions(self) -> list[str]:
        """Return the keys of all manifests."""
        return sorted(key for key in self.objects(f"models/{MODEL}/versions") if key.endswith("manifest.json"))

    def predict(self, photo: bytes) -> tuple[str, float]:
        """Return the model server's label and probability for a photo."""
        with forward(self.release, f"service/{self.release.fullname}-serving", 8501) as url, ModelServer(url) as server:
            (prediction,) = server.predict([photo], MODEL)
        return prediction.label, prediction.probability

    def pods(self, **labels: str) -> list[dict[str, Any]]:
        """Return the pods with these labels."""
        return [
            item for item in self.release.get("pods") if labels.items() <= item["metadata"].get("labels", {}).items()
        ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules of this folder in `ORDER`; other tests stay where they are."""
    here = Path(__file__).parent
    places = [number for number, item in enumerate(items) if here in item.path.parents]
    ordered = sorted((items[number] for number in places), key=lambda item: ORDER.index(item.path.stem))
    for number, item in zip(places, ordered, strict=True):
        items[number] = item


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        report.sections.append(("evidence of Airflow's release", str(keep_evidence(AIRFLOW))))
    return report


def _params() -> Path:
    """Write the project's parameters, with thresholds for a few hundred photos; returns the path."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["data"]["name"] = DATASET
    params["evaluate"]["baseline"] = False
    params["gate"] = {"accuracy": {"all": 0.5}, "photos": {"all": 20}, "drop": {"all": 0.5}}
    path = AIRFLOW_FOLDER / "params.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(params), "utf-8")
    return path


def _installed(registry: str, run_folder: Path) -> float:
    """Install the release, unless it was kept; returns the time of its scheduled run."""
    with one_worker(run_folder):
        run_script("images", "--push", registry, "training", "serving", "airflow")
        run_script("cluster", "bring", "POSTGRES_IMAGE")
    due = time.time() + 60 * _CLOCK_MINUTES  # after the images: on a new machine they take many minutes
    at = time.gmtime(due)
    values = [
        part
        for value in (*_VALUES, f"airflow.schedules.retrain={at.tm_min} {at.tm_hour} * * *")
        for part in ("--set", value)
    ]
    values += ["--set-file", f"training.params={_params()}"]
    install(AIRFLOW, images.references(registry, airflow=True), values)
    return due - at.tm_sec


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Remove the release after the last test here has been torn down: the tests that follow need the node's CPU."""
    yield
    here = Path(__file__).parent
    if (nextitem is None or here not in nextitem.path.parents) and os.environ.get("E2E_KEEP") != "1":
        remove(AIRFLOW)


@pytest.fixture(scope="session")
def loop(
    machine: None, run_folder: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loop]:
    """Airflow and all that it runs, in a namespace that is deleted afterwards."""
    ours = AIRFLOW.context == RELEASE.context
    registry = request.getfixturevalue("registry") if ours else "localhost:5001"
    try:
        due = _installed(registry, run_folder)
        with reach_airflow(AIRFLOW) as airflow:
            photos = job_photos.write(tmp_path_factory.mktemp("airflow") / "photos")
            until(lambda: len(airflow.request("GET", "/dags")["dags"]) == 4, 300, "Airflow knows its DAGs")
            yield Loop(AIRFLOW, airflow, photos, due)
    finally:
        if os.environ.get("E2E_KEEP") != "1":
            remove(AIRFLOW)


@pytest.fixture(scope="session")
def first(loop: Loop) -> str:
    """The run that the first day's photos started; its version is live. In a kept release, the earlier run."""
    from tests.e2e.airflow.run_waits import ingest, known, live, retrained

    if done := [item for item in list_runs(loop.airflow, "retrain") if item["run_type"] == "asset_triggered"]:
        return str(done[-1]["dag_run_id"])
    loop.upload(f"incoming/{DATASET}/{FIRST}", loop.of(*job_photos.CLASSES))
    before = known(loop)
    assert ingest(loop, FIRST) == "success"
    run = retrained(loop, "asset_triggered", before)
    assert live(loop, run) == 1
    return run
