"""Every scenario renders to documents that Kubernetes accepts; invalid values are refused with an explanation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import (
    CHART,
    ROOT,
    SCENARIOS,
    containers,
    find,
    pods,
    run_helm,
    run_kubeconform,
    scenario_options,
    template,
    verbs,
)

EXTERNAL = ("--set", "objectStore.enabled=false", "--set", "objectStore.endpoint=https://s3.example.com")
KEYS = tuple(
    part
    for name in ("ingest", "trainer", "publisher", "sync")
    for part in ("--set", f"objectStore.existingSecrets.{name}=key-{name}")
)

REFUSED = {
    "a typo in a key": (("--set", "serving.replcas=2"), "'replcas' not allowed"),
    "a typo at the top": (("--set", "models=fruits"), "'models' not allowed"),
    "an unknown engine": (("--set", "serving.engine=tfs"), "value must be one of"),
    "a model with a capital": (("--set", "model=Fruits"), "does not match pattern"),
    "a number as words": (("--set", "serving.replicas=two"), "want integer"),
    "an endpoint without http": (
        ("--set", "objectStore.enabled=false", "--set", "objectStore.endpoint=s3:8333"),
        "does not match pattern",
    ),
    "memory that is not a quantity": (
        ("--set", "serving.resources.engine.limits.memory=lots"),
        "does not match pattern",
    ),
    "two stores": (("--set", "objectStore.endpoint=http://s3:8333"), "names another one (http://s3:8333)"),
    "a store without keys": (EXTERNAL, "objectStore.existingSecrets.sync"),
    "keys and cloud rights": (
        (*EXTERNAL, *KEYS, "--set", "objectStore.cloudIdentity=true"),
        "Leave one of them out",
    ),
    "tokens that the engine does not check": (("--set", "serving.tokenSecret=callers"), "does not check"),
    "metrics behind tokens, and no token": (
        ("--set", "serving.engine=orchard,serving.tokenSecret=callers,serviceMonitor.enabled=true"),
        "serviceMonitor.tokenSecret",
    ),
    "cloud rights for our own store": (("--set", "objectStore.cloudIdentity=true"), "knows only keys"),
    "half of the store's keys": (
        ("--set", "objectStore.existingSecrets.sync=mine"),
        "Name all of them (server, admin, ingest, trainer, publisher, sync)",
    ),
    "airflow without its keys": (
        (*EXTERNAL, *KEYS, "--set", "airflow.enabled=true"),
        "objectStore.existingSecrets.housekeeping",
    ),
    "airflow without training": (
        ("--set", "airflow.enabled=true", "--set", "training.enabled=false"),
        "Set both, or neither",
    ),
    "airflow without a database": (
        ("--set", "airflow.enabled=true", "--set", "airflow.database.enabled=false"),
        "a Secret with a key `connection`",
    ),
    "an invalid schedule": (("--set", "airflow.schedules.retrain=nightly"), "does not match pattern"),
    "identities of a store that does not run here": (
        (*EXTERNAL, *KEYS, "--set", "objectStore.existingSecrets.server=mine"),
        "Leave it out",
    ),
    "TensorFlow Serving on arm64": (
        ("--set", r"serving.nodeSelector.kubernetes\.io/arch=arm64"),
        "Set serving.engine=orchard",
    ),
    "fewer at most than at least": (
        ("--set", "serving.autoscaling.enabled=true", "--set", "serving.autoscaling.minReplicas=9"),
        "minReplicas (9) is more than maxReplicas (6)",
    ),
    "an ingress to nowhere": (("--set", "serving.ingress.enabled=true"), "needs serving.ingress.host"),
}


def test_kubernetes_accepts_every_scenario_and_no_unknown_field(render, schemas, tmp_path):
    documents = {scenario: render(scenario) for scenario in SCENARIOS}
    documents["verbs"] = verbs(render("airflow"))
    wrong = render("default")
    find(wrong, "Service", "-store")["spec"]["prots"] = []

    report = run_kubeconform(schemas, {**documents, "wrong": wrong}, tmp_path)

    assert [(Path(item["filename"]).stem, item["name"]) for item in report["resources"]] == [
        ("wrong", "fruit-orchard-store")
    ]
    assert report["summary"]["valid"] == sum(map(len, documents.values())) + len(wrong) - 3
    assert report["summary"]["skipped"] == 2  # the ServiceMonitor of locked-down, the HTTPRoute of router


@pytest.mark.parametrize("scenario", ["default", "locked-down"])
def test_helm_lints_the_chart(scenario):
    done = run_helm("lint", "--strict", str(CHART), "--kube-version", "1.34.0", *scenario_options(scenario))

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_values_are_refused_with_an_explanation(case):
    options, sentence = REFUSED[case]

    done = template(*options)

    assert done.returncode != 0
    assert sentence in done.stderr


def test_a_long_release_name_is_refused():
    done = template(release="a" * 41)

    assert "41 characters" in done.stderr


def test_an_old_cluster_is_refused():
    done = run_helm("template", "fruit", str(CHART), "--kube-version", "1.29.9")

    assert "incompatible with Kubernetes v1.29.9" in done.stderr


@pytest.mark.parametrize("scenario", ["default", "kind", "external-s3"])
def test_the_same_values_render_the_same_bytes_and_no_secret(scenario):
    first, second = template(*scenario_options(scenario)), template(*scenario_options(scenario))

    assert first.stdout == second.stdout
    assert not [item for item in yaml.safe_load_all(first.stdout) if item and item["kind"] == "Secret"]
    assert not re.search(r"PRIVATE KEY|secret_access_key|secretKey", first.stdout)


def test_images_are_those_of_images_env_and_one_value_sets_a_mirror_for_all(render):
    versions = dict(re.findall(r"^(\w+_IMAGE)=(\S+)$", (ROOT / "images.env").read_text(), re.MULTILINE))
    expected = {
        versions[name] for name in ("TRAINING_IMAGE", "SERVING_IMAGE", "TENSORFLOW_SERVING_IMAGE", "SEAWEEDFS_IMAGE")
    }

    def used(*options):
        return {item["image"] for _, spec in pods(render("default", *options)) for item in containers(spec)}

    assert used() == expected
    assert used("--set", "images.registry=mirror.example.com/x") == {
        f"mirror.example.com/x/{name}" for name in expected
    }
    assert "mine:1" in used("--set", "images.serving=mine:1")
