"""The deployment without a cluster; tests/e2e has the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchard.store import answers, failures
from orchestration.cluster.deploy.__main__ import _next_commands
from orchestration.cluster.deploy.deploy_loop import DeployResult
from orchestration.cluster.deploy.doctor import examine, in_the_chart
from orchestration.cluster.deploy.release import Release, run
from orchestration.cluster.kube_client import ClusterError

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Release(context="kind-orchard", namespace="fruit", name="shop")


@pytest.mark.parametrize(
    ("release", "name"), [("shop", "shop-orchard"), ("orchard", "orchard"), ("my-orchard", "my-orchard")]
)
def test_names_are_those_of_the_chart(release, name):
    assert Release("c", "n", release).fullname == name


def test_every_command_names_context_and_namespace():
    assert RELEASE.kubectl_command("get", "pods")[1:5] == ["--context", "kind-orchard", "--namespace", "fruit"]


def test_a_failing_program_is_an_error_with_its_message():
    with pytest.raises(ClusterError, match="no such thing"):
        run([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


def test_a_hanging_program_is_stopped():
    with pytest.raises(ClusterError, match="did not end within"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.5)


def test_the_doctor_names_every_program_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    findings = examine(RELEASE)

    assert [item.wrong.split()[0] for item in findings] == ["docker", "kind", "kubectl", "helm"]
    assert all(item.remedy for item in findings)


def test_a_cluster_without_kind_needs_no_docker(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    findings = examine(Release("production", "fruit", "orchard"))

    assert [item.wrong.split()[0] for item in findings] == ["kubectl", "helm"]


def test_deploying_without_docker_names_what_is_missing(tmp_path):
    programs, script = tmp_path / "bin", tmp_path / "scripts" / "cluster"
    programs.mkdir()
    for name in ("bash", "dirname", "env"):
        (programs / name).symlink_to(Path("/usr/bin", name))
    script.parent.mkdir()  # a checkout without ../shared, which would start Docker
    shutil.copy(ROOT / "scripts" / "cluster", script)
    shutil.copy(ROOT / "scripts" / "narrated.bash", script.parent)
    shutil.copy(ROOT / "images.env", tmp_path)

    done = subprocess.run([script, "up"], env={"PATH": str(programs)}, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "not on the PATH: docker kind kubectl helm" in done.stderr
    assert "fix: install them" in done.stderr


@pytest.mark.parametrize("airflow", [False, True])
def test_the_closing_words_name_targets_that_exist_and_those_that_the_release_can_do(airflow):
    result = DeployResult(1, [{"path": "unseen/a.jpg"}], {"chart": 3.0}, airflow)
    text = _next_commands(Release("kind-d", "fruit", "orchard"), result)

    named = re.findall(r"make ([a-z-]+)", text)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(named) <= set(targets)
    assert {"predict", "runs", "history", "rollback", "doctor", "undeploy"} <= set(named)
    assert ({"airflow", "retrain"} <= set(named)) == airflow
    assert ("make deploy AIRFLOW=1" in text) != airflow
    assert text.count("NAMESPACE=fruit CLUSTER=d") == text.count("\n  make")


def test_the_doctor_repeats_syncs_advice_with_the_values_of_the_chart():
    fix = failures.FailedRequest("for 'a'", "s3://b").refused(answers.StoreAnswer(403, "InvalidAccessKeyId")).hint

    assert fix in in_the_chart(fix)
    assert "the key in the Secret of `sync` (objectStore.existingSecrets.sync)" in in_the_chart(fix)
    assert in_the_chart("compare `date -u`") == "compare `date -u`"
    for name, value in (("URL", "bucket"), ("ENDPOINT", "endpoint"), ("REGION", "region"), ("CA_FILE", "caSecret")):
        assert f"objectStore.{value}" in in_the_chart(f"set ORCHARD_STORE_{name}")
