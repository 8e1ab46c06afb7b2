"""The rendered chart in k8s/ is up to date, and the overlays have their effect."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir() if path.is_dir())


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH; ../shared/cluster/up puts it there, where that folder is")
    return path


@pytest.fixture(scope="module")
def built():
    """An overlay's documents, by kind and name."""
    kubectl = program("kubectl")

    def call(overlay):
        done = subprocess.run(
            [kubectl, "kustomize", str(ROOT / "k8s" / "overlays" / overlay)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(done.stdout)}

    return call


def test_the_rendered_chart_is_fresh(tmp_path):
    program("helm")
    subprocess.run([ROOT / "scripts" / "rendered", tmp_path / "orchard.yaml"], check=True, timeout=60)

    written = (ROOT / "k8s" / "rendered" / "orchard.yaml").read_text("utf-8")
    assert written == (tmp_path / "orchard.yaml").read_text("utf-8"), "run scripts/rendered"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_in_a_restricted_namespace(built, overlay):
    documents = built(overlay)
    namespace = documents.pop(("Namespace", "orchard"))

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {item["metadata"]["namespace"] for item in documents.values()} == {"orchard"}
    for (kind, _), item in documents.items():
        if kind == "RoleBinding":
            assert [subject["namespace"] for subject in item["subjects"]] == ["orchard"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_comes_from_the_overlays_registry(built, overlay):
    registry = {"kind": "localhost:5001/", "production": "registry.example.com/"}[overlay]
    images = re.findall(r"image': '([^']+)'", str(built(overlay)))

    assert images
    assert all(image.startswith(registry) for image in images)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ended_jobs_are_deleted(built, overlay):
    jobs = [item for (kind, _), item in built(overlay).items() if kind == "Job"]

    assert len(jobs) == 2
    assert all(item["spec"]["ttlSecondsAfterFinished"] == 60 for item in jobs)


def test_production_leaves_the_number_of_pods_to_its_autoscaler(built):
    documents = built("production")

    assert "replicas" not in documents["Deployment", "orchard-serving"]["spec"]
    assert documents["HorizontalPodAutoscaler", "orchard-serving"]["spec"]["minReplicas"] == 3


@pytest.mark.parametrize(("overlay", "size"), [("kind", "4Gi"), ("production", "200Gi")])
def test_the_size_of_the_stores_volume(built, overlay, size):
    (claim,) = built(overlay)["StatefulSet", "orchard-store"]["spec"]["volumeClaimTemplates"]

    assert claim["spec"]["resources"]["requests"]["storage"] == size
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_skaffold_reads_images_env():
    assert (ROOT / "skaffold.env").read_bytes() == (ROOT / "images.env").read_bytes()
