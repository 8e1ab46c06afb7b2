"""A project of drawn photos goes to a cluster by `orchard deploy`, changes, and is removed; no checkout is its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.cluster.deploy.install import remove
from orchestration.cluster.deploy.release import Release
from tests import drawn_photos
from tests.e2e.conftest import keep_evidence
from tests.e2e.releases import SMALL
from tests.e2e.timed_parts import PARTS
from tests.first_hour import TINY, edit

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]

RELEASE = Release("kind-orchard", "orchard-e2e-project", "orchard")
WHERE = ("--context", RELEASE.context, "--namespace", RELEASE.namespace)
VALUES = [part for value in (*SMALL, "training.resources.heavy.requests.cpu=100m") for part in ("--set", value)]


def orchard(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a verb in a folder, with no setting of this machine; return its document."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCHARD_")}
    command = [sys.executable, "-m", "orchard", *arguments, "--json"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == code, done.stderr[-6000:] + done.stdout[-2000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_project_is_deployed_and_removed(cluster, tmp_path):
    remove(RELEASE)
    drawn_photos.fill(tmp_path / "my photos", "arrows", 14)
    orchard(tmp_path, "init", "arrows", "--photos", "my photos", "--network")
    project = tmp_path / "arrows"
    edit(project / "params.yaml", {**TINY, "photos: {all: 20}": "photos: {all: 1}"})
    try:
        document = orchard(project, "deploy", *WHERE, *VALUES)
        PARTS.extend((f"orchard deploy: {name}", seconds) for name, seconds in document["seconds"].items())
        again = orchard(project, "deploy", *WHERE)
        orchard(project, "job", "tag", "1", "reviewed", *WHERE)
        (version,) = orchard(project, "job", "versions", *WHERE)["versions"]
        findings = orchard(project, "doctor", *WHERE)["findings"]
        (template,) = RELEASE.get("podtemplate", "orchard-train")
    except BaseException:
        keep_evidence(RELEASE)
        raise
    finally:
        removed = orchard(project, "undeploy", *WHERE, "--yes")["removed"]

    (prediction,) = document["predictions"]
    assert prediction["label"] in drawn_photos.DIRECTIONS
    assert Path(prediction["path"]).read_bytes()
    assert document["version"] == again["version"] == version["version"] == 1, "nothing was trained again"
    assert (version["tags"], findings) == (["reviewed"], [])
    images = {item["image"] for item in template["template"]["spec"]["initContainers"]}
    assert all("/arrows-training@sha256:" in image for image in images), images
    assert f"namespace {RELEASE.namespace}" in removed
