"""A real Airflow with a database in a folder and pod templates like the chart's; no scheduler, no cluster."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

HOME = Path(tempfile.mkdtemp(prefix="orchard-airflow-"))
PODS = HOME / "pods"
ROOT = Path(__file__).resolve().parents[3]
VERBS = ("validate", "train", "evaluate", "gate", "publish", "promote", "ingest", "batch", "housekeeping")

# Airflow reads its environment when it is imported, so all of this comes before that.
for name in list(os.environ):
    if name.startswith(("AIRFLOW", "ORCHARD_", "AWS_", "KUBE")) or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "orchestration" / "airflow" / "dags"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL": "error",
    "ORCHARD_PODS_DIR": str(PODS),
    "ORCHARD_NAMESPACE": "orchard",
    "ORCHARD_PAGES_URL": "https://pages.example/bucket/",
    "ORCHARD_OWNER": "vision",
    "ORCHARD_SCHEDULE_RETRAIN": "0 3 * * 1",
    "ORCHARD_SCHEDULE_BATCH": "0 3 * * *",
    "ORCHARD_SCHEDULE_HOUSEKEEPING": "",
    "PYTHONPATH": str(ROOT),
}


def template(verb: str) -> dict[str, Any]:
    """A pod template as the chart renders one, in short."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"orchard-{verb}",
            "labels": {"app.kubernetes.io/name": "orchard", "app.kubernetes.io/component": verb},
            "annotations": {"orchard.pod/start-seconds": "2"},
        },
        "spec": {
            "serviceAccountName": "orchard-training",
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 600,
            "terminationGracePeriodSeconds": 45,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "base",
                    "image": "registry.example/orchard-training@sha256:" + "0" * 64,
                    "command": ["tini", "--", "orchard"],
                    "env": [
                        {"name": "QUOTES", "value": "run $(ORCHARD_RUN_ID)"},
                        {"name": "ORCHARD_RUN_ID", "value": "unnamed"},
                        {"name": "ORCHARD_STORE_CREDENTIALS_FILE", "value": "/keys/trainer/credentials"},
                    ],
                    "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
                    "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
                }
            ],
            "volumes": [{"name": "workspace", "emptyDir": {"sizeLimit": "4Gi"}}],
        },
    }


def context(user: str | None = None, tries: int = 1) -> dict[str, Any]:
    """The context that Airflow gives to a task."""
    return {
        "run_id": "scheduled__2026-11-24T03:00:00+00:00",
        "ti": SimpleNamespace(dag_id="retrain", task_id="train", map_index=-1, try_number=tries),
        "dag": SimpleNamespace(dag_id="retrain"),
        "dag_run": SimpleNamespace(triggering_user_name=user),
    }


PODS.mkdir()
for verb in VERBS:
    (PODS / f"{verb}.yaml").write_text(yaml.safe_dump(template(verb)))


@pytest.fixture(scope="session")
def bag() -> Any:
    """All DAGs, as the dag-processor reads them."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=ROOT / "orchestration" / "airflow" / "dags")


@pytest.fixture(scope="session")
def database() -> None:
    """An empty database of Airflow."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A real PostgreSQL with an empty database."""
    from postgres import PostgreSQL

    if not PostgreSQL.is_installed():
        pytest.skip("initdb and postgres are not on the PATH")
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Any]:
    from cluster import FakeCluster

    fake = FakeCluster()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": fake.address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (HOME / "kubeconfig").write_text(yaml.safe_dump(config))
    yield fake
    fake.close()


@pytest.fixture
def cluster(_cluster: Any) -> Any:
    """The part of Kubernetes' API that the operator needs; `cluster.plan` returns a pod's next states."""
    _cluster.reset()
    return _cluster


@pytest.fixture
def build(monkeypatch):
    """Build the pod of a verb as a document, without a cluster."""
    from airflow.sdk import DAG
    from kubernetes.client import ApiClient

    from orchestration.airflow import operator

    def built(verb, options=None, *, folder=None, context=None):
        if folder is not None:
            monkeypatch.setattr(operator, "RELEASE", dataclasses.replace(operator.RELEASE, pods=str(folder)))
        with DAG("retrain", schedule=None):
            task = operator.OrchardStepOperator(task_id=verb, options=options)
        task.name = f"retrain-{verb}"
        pod = task.build_pod_request_obj(context, dry_run=True)
        return ApiClient().sanitize_for_serialization(pod)

    return built
