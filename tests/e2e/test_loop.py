"""From nothing to a prediction, on the cluster; a second run changes nothing."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.conftest import ROOT, VALUES, WORKSPACES, command, versions
from tests.e2e.releases import run_helm_test

pytestmark = pytest.mark.timeout(3600)


def test_the_version_that_the_cluster_trained_predicts_a_photo_that_training_never_saw(deployed):
    document = deployed.document

    assert document["version"] == 1
    first = document["predictions"][0]
    assert first["label"] == first["truth"]
    assert first["probability"] > 0.5


def test_helm_test_predicts_golden_photos(release):
    assert ": 0 of " in run_helm_test(release)


def test_a_second_deployment_trains_nothing_and_rolls_nothing_out(deployed):
    pods = sorted(deployed.release.serving_pods())
    data = str(WORKSPACES / "photos")
    done = subprocess.run(
        command("up", "--json", "--no-build", "--data", data, *VALUES),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    again = json.loads(done.stdout)
    assert again["version"] == deployed.document["version"]
    assert sorted(deployed.release.serving_pods()) == pods
    assert versions() == [deployed.document["version"]]


def test_the_doctor_finds_nothing(deployed):
    done = subprocess.run(command("doctor"), capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)

    assert done.returncode == 0, done.stdout


def test_pods_that_break_the_restricted_standard_are_refused(release):
    done = subprocess.run(
        release.kubectl_command("run", "rude", "--image=x:1", "--privileged", "--dry-run=server"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert "violates PodSecurity" in done.stderr
