"""`orchard doctor`: each fault of a machine is found and has a remedy; a good machine has none, and nothing is written."""

from __future__ import annotations

import json
import os
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest

from orchard import env_files
from orchard.cli import main
from orchard.store import ports
from orchestration.cli.doctor import doctor
from orchestration.local import machine_checks


@pytest.fixture
def examine(workspace, monkeypatch, capsys):
    """Run `orchard doctor --json` in a project; return the exit code and the checks by name."""
    monkeypatch.delenv(env_files.VARIABLE)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # as `activate` does
    monkeypatch.setenv("ORCHARD_SERVER_URL", f"http://127.0.0.1:{ports.choose()['s3.port']}")
    monkeypatch.setattr(machine_checks, "STATUS_PORT", ports.choose()["s3.port"])
    for name, text in {"params.yaml": "data: {name: signs}\n", "dvc.yaml": "stages: {}\n", "photos": "x"}.items():
        (workspace / name).write_text(text)
    monkeypatch.setenv("ORCHARD_PHOTOS", "photos")

    def call():
        code = main(["--json"], doctor)
        return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}

    return call


def test_good_machine_lacks_nothing_and_nothing_is_written(examine, workspace):
    before = sorted(workspace.rglob("*"))

    code, checks = examine()

    assert code == 0
    assert {check["state"] for check in checks.values()} <= {"ok", "skipped"}
    assert {"python", "extra training", "git", "dvc", "project", "photos", "disk", "memory", "store", "cluster"} <= set(
        checks
    )
    assert sorted(workspace.rglob("*")) == before


def hide_package(monkeypatch, workspace):
    found = metadata.version

    def version(name):
        if name == "keras":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", version)


FAULTS = {
    "extra training": (hide_package, "without keras", "pip install", 1),
    "git": (lambda patch, folder: patch.setenv("PATH", str(folder)), "not on the PATH", "install git", 0),
    "project": (lambda patch, folder: (folder / "dvc.yaml").unlink(), "no dvc.yaml", "orchard init", 0),
    "photos": (lambda patch, folder: (folder / "photos").unlink(), "there is no", "correct ORCHARD_PHOTOS", 1),
    "disk": (lambda patch, folder: patch.setattr(machine_checks, "ROOM", 1e9), "GB needed", "make room", 1),
    "memory": (
        lambda patch, folder: patch.setattr(machine_checks, "MEMORY", 1e9),
        "GB available",
        "end other programs",
        0,
    ),
    "settings": (
        lambda patch, folder: (folder / ".env").write_text("ORCHARD_MODLE=x\n"),
        "did you mean ORCHARD_MODEL",
        "correct the file",
        1,
    ),
    "store": (
        lambda patch, folder: (
            patch.setenv("ORCHARD_STORE_URL", "s3://orchard")
            or patch.setenv("ORCHARD_STORE_ENDPOINT", f"http://127.0.0.1:{ports.choose()['s3.port']}")
        ),
        "http://127.0.0.1",
        "",
        1,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_with_its_remedy(name, examine, workspace, monkeypatch):
    break_it, found, remedy, exit_code = FAULTS[name]
    break_it(monkeypatch, workspace)

    code, checks = examine()

    assert code == exit_code
    assert checks[name]["state"] == ("missing" if exit_code else "warning")
    assert found in checks[name]["found"]
    assert remedy in checks[name]["remedy"]


def test_taken_port_is_named_with_who_listens(examine):
    port = int(os.environ["ORCHARD_SERVER_URL"].rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)):
        code, checks = examine()

    assert code == 0
    assert f"(pid {os.getpid()})" in checks[f"port {port}"]["found"]
    assert "ORCHARD_SERVER_URL" in checks[f"port {port}"]["remedy"]


def test_context_of_a_cluster_is_named_and_not_looked_at(examine, workspace, monkeypatch):
    (workspace / "kube").write_text("current-context: kind-orchard\n")
    monkeypatch.setenv("KUBECONFIG", str(workspace / "kube"))

    _, checks = examine()

    assert "kind-orchard: `orchard doctor --namespace NAME`" in checks["cluster"]["found"]


def test_without_a_context_the_cluster_is_skipped(examine, workspace, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(workspace / "none"))

    _, checks = examine()

    assert (checks["cluster"]["state"], checks["cluster"]["remedy"]) == ("skipped", "")
    assert "no kube context" in checks["cluster"]["found"]
