"""From the chart's previous version to this one: keys, models and predictions stay, and no request is lost."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from orchestration.cluster.deploy import images
from orchestration.cluster.deploy.install import await_installed
from orchestration.cluster.deploy.release import run
from orchestration.cluster.kube_client import ClusterError
from tests.e2e.conftest import versions
from tests.e2e.releases import CHART, ROOT, await_ready, release_model, released, run_helm_test
from tests.e2e.service_traffic import answers_of, say, traffic

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]

PREVIOUS = "ff9b5c2"
"""The last commit with the chart's version 0.1.0."""

PROGRAMS = ("training", "serving")
REGISTRY = "localhost:5001"
CODE_STAGE = "\nFROM packages AS code\n"
"""Where both Dockerfiles, today's and the previous one, begin with what a commit's own files decide."""


@dataclass(frozen=True)
class Previous:
    """The previous chart, and the values that name images with the previous code."""

    chart: Path
    values: tuple[str, ...]


@pytest.fixture(scope="module")
def previous(cluster, tmp_path_factory):
    """Chart and code from the history, with today's packages, so that only the code's layer is built."""
    if run_git("cat-file", "-e", f"{PREVIOUS}^{{commit}}").returncode != 0:
        pytest.skip(f"the cloned history lacks {PREVIOUS}, the chart's previous version")
    folder = tmp_path_factory.mktemp("previous")
    archive = folder / "checkout.tar"
    assert run_git("archive", f"--output={archive}", PREVIOUS).returncode == 0
    shutil.unpack_archive(archive, folder, filter="data")
    project = folder / "pyproject.toml"  # today's base image has a newer Python than the previous code names
    project.write_text(project.read_text().replace('requires-python = "==3.11.*"', 'requires-python = ">=3.11"'))
    values = []
    for program in PROGRAMS:
        dockerfile = folder / program / "Dockerfile"
        dockerfile.write_text(
            packages_of((ROOT / program / "Dockerfile").read_text()) + code_of(dockerfile.read_text())
        )
        shutil.copy(ROOT / "requirements" / f"{program}.txt", folder / "requirements")
        image = f"{REGISTRY}/orchard-{program}:previous"
        options = [
            "--build-arg",
            f"PYTHON_IMAGE={images.image_versions()['PYTHON_IMAGE']}",
            "--tag",
            image,
            str(folder),
        ]
        build = ["env", "DOCKER_BUILDKIT=1", "docker", "build", "--quiet", "--file", str(dockerfile)]
        run([*build, *options], seconds=900)
        run(["docker", "push", "--quiet", image], seconds=900)
        values += ["--set", f"images.{program}={image}"]
    return Previous(folder / "charts" / "orchard", tuple(values))


def packages_of(dockerfile):
    """Return what a Dockerfile says before the stage of the code: it names no file of the project but the lock."""
    return dockerfile.partition(CODE_STAGE)[0]


def code_of(dockerfile):
    """Return the stage of the code and what follows it: it names the files that the code of its own commit has."""
    _, stage, rest = dockerfile.partition(CODE_STAGE)
    assert stage, "the Dockerfile has no stage of the code"
    return stage + rest


def run_git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False, timeout=60)


def keys(release):
    """Return every entry with a key of the release's Secrets except Helm's; of the store's own file, keys by identity."""
    entries = {}
    for item in release.get("secrets"):
        for name, value in item.get("data", {}).items():
            text = base64.b64decode(value).decode()
            if name == "s3.json":
                for identity in json.loads(text)["identities"]:
                    entries[item["metadata"]["name"], identity["name"]] = identity["credentials"]
            elif item["type"] == "Opaque":
                entries[item["metadata"]["name"], name] = text
    return entries


def test_the_previous_chart_is_an_older_one(previous):
    old, new = (yaml.safe_load((path / "Chart.yaml").read_text("utf-8"))["version"] for path in (previous.chart, CHART))

    assert tuple(map(int, old.split("."))) < tuple(map(int, new.split(".")))


def test_an_upgrade_keeps_keys_and_models_and_serves_on(previous, zoo):
    today = [
        part for name, image in images.references(REGISTRY).items() for part in ("--set", f"images.{name}={image}")
    ]
    with released("upgrade", "--set", "serving.replicas=2", *previous.values, chart=previous.chart) as release:
        version = release_model(release, zoo, "one")
        await_ready(release)
        photos = [path.read_bytes() for path in sorted((zoo / "photos" / "test_photos").glob("*.jpg"))]
        right, before = answers_of(release, version, photos), keys(release)

        with pytest.raises(ClusterError, match="use --reset-then-reuse-values"):
            release.helm("upgrade", release.name, str(CHART), "--reuse-values", *today)
        with traffic(release, photos) as found:
            release.helm("upgrade", release.name, str(CHART), "--reset-then-reuse-values", *today, seconds=300)
            await_installed(release)
            await_ready(release)

        say("upgrade:", found.figures())
        assert found.failed() == []
        assert found.wrong(right) == []
        assert before.items() <= keys(release).items()
        assert versions(release) == [version]
        assert ": 0 of " in run_helm_test(release)
        assert release_model(release, zoo, "two") == version + 1
