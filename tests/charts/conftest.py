"""The chart, rendered by helm as for a cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "orchard"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.34.0"

Documents = list[dict[str, Any]]


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not on PATH; ../shared/cluster/up puts it there, where that folder is")
    return subprocess.run([helm, *arguments], capture_output=True, text=True, check=False, timeout=60)


def template(*options: str, release: str = "fruit") -> subprocess.CompletedProcess[str]:
    named = ["template", release, str(CHART), "--kube-version", KUBERNETES, "--namespace", "shop"]
    return run_helm(*named, *options)


def scenario_options(name: str) -> tuple[str, ...]:
    return ("--values", str(CHART / "ci" / f"{name}-values.yaml"))


@pytest.fixture(scope="session")
def render() -> Callable[..., Documents]:
    """Render a scenario, with more options if given; the same call renders once."""
    rendered: dict[tuple[str, ...], str] = {}

    def call(scenario: str = "default", *options: str) -> Documents:
        key = (scenario, *options)
        if key not in rendered:
            done = template(*scenario_options(scenario), *options)
            assert done.returncode == 0, done.stderr
            rendered[key] = done.stdout
        return [document for document in yaml.safe_load_all(rendered[key]) if document]

    return call


def find(documents: Documents, kind: str, name: str = "") -> dict[str, Any]:
    matching = [item for item in documents if item["kind"] == kind and item["metadata"]["name"].endswith(name)]
    assert len(matching) == 1, f"{len(matching)} of {kind} {name}"
    return matching[0]


def pods(documents: Documents) -> list[tuple[str, dict[str, Any]]]:
    """Return every pod and pod template of the chart: a description and the spec."""
    specs = []
    for item in documents:
        where = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] == "Pod":
            specs.append((where, item["spec"]))
        elif item["kind"] == "PodTemplate":
            specs.append((where, item["template"]["spec"]))
        elif item["kind"] in {"Deployment", "StatefulSet", "Job"}:
            specs.append((where, item["spec"]["template"]["spec"]))
        elif item["kind"] == "CronJob":
            specs.append((where, item["spec"]["jobTemplate"]["spec"]["template"]["spec"]))
    return [*specs, *((f"pod of the verb {pod['metadata']['name']}", pod["spec"]) for pod in verbs(documents))]


def verbs(documents: Documents) -> Documents:
    """Return Airflow's pod templates, one for each verb."""
    return [yaml.safe_load(text) for text in verb_texts(documents)]


def verb_texts(documents: Documents) -> list[str]:
    """Return Airflow's pod templates as they are, which is text in a ConfigMap."""
    found = [item for item in documents if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("-pods")]
    return [text for item in found for text in item["data"].values()]


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def secrets_at(spec: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
    """Return the Secret that a container has at each path."""
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    return {path: secrets[name] for path, name in mounts.items() if name in secrets}


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Kubernetes' own schemas, from the package kubernetes-validate, in kubeconform's form."""
    import kubernetes_validate

    source = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    folder = tmp_path_factory.mktemp("schemas")
    definitions = f"file://{folder}/_definitions.json#"
    for path in source.glob("*.json"):
        if path.stem == "_definitions" or "-v" in path.stem:
            text = path.read_text(encoding="utf-8").replace("/api/_definitions.json#", definitions)
            (folder / path.name).write_text(text, encoding="utf-8")
    return f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"


def run_kubeconform(location: str, documents: Mapping[str, Documents | str], folder: Path) -> dict[str, Any]:
    """Check documents, one file for each scenario, in one run: reading the schemas takes most of the time.

    Text is checked as it is: Go reads some words as numbers that Python reads as text.
    """
    kubeconform = shutil.which("kubeconform")
    if kubeconform is None:
        pytest.skip("kubeconform is not on PATH; ../shared/cluster/up puts it there, where that folder is")
    for name, items in documents.items():
        text = items if isinstance(items, str) else yaml.safe_dump_all(items)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    # ServiceMonitor is the Prometheus operator's kind, HTTPRoute the Gateway API's: schemas of CRDs are not Kubernetes'
    command = [kubeconform, "-strict", "-skip", "ServiceMonitor,HTTPRoute", "-output", "json", "-summary"]
    done = subprocess.run(
        [*command, "-schema-location", location, str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report
