"""Runs, history and rollback of the cluster's store, from here: a Job does it, no key is copied, and nothing is left."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from orchestration.cluster.deploy.release import Release
from tests.e2e.conftest import RELEASE, ROOT, command, orchard
from tests.e2e.service_traffic import until

pytestmark = pytest.mark.timeout(3600)


def ask(verb: str, *options: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        command(verb, "--json", *options), capture_output=True, text=True, check=False, cwd=ROOT, timeout=600
    )
    assert done.returncode == code, done.stderr[-4000:] + done.stdout[-2000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_training_job_of_the_deployment_is_a_run_with_its_verdict_and_version(deployed):
    runs = ask("runs", "--kind", "retrain")["runs"]

    (run,) = [item for item in runs if item["version"] == 1 and item["run_id"].startswith("deploy-")]
    assert (run["state"], run["verdict"]) == ("done", "accepted")
    assert list(run["steps"]) == ["validate", "train", "evaluate", "gate", "publish", "promote"]


def test_versions_and_history_name_what_is_served(deployed):
    served = [item["version"] for item in ask("versions")["versions"] if "stable" in item["channels"]]
    newest = max(ask("history", "--channel", "stable")["history"], key=lambda item: item["generation"])
    assert [newest["version"]] == served


def test_a_promotion_and_its_rollback_are_in_the_history_with_who_and_why(second, monkeypatch):
    monkeypatch.setenv("ORCHARD_ACTOR", "ada@laptop")
    before = max(ask("history", "--channel", "stable")["history"], key=lambda item: item["generation"])["version"]
    try:
        assert ask("promote", "--why", "e2e", str(second.version))["changed"] is True
        assert ask("rollback", "--why", "drill $(HOME)")["version"] == before
        assert ask("rollback", "--why", "drill $(HOME)")["changed"] is False  # the same again changes nothing
    finally:
        ask("promote", "--why", "as before", str(before))

    entries = ask("history", "--channel", "stable")["history"]
    (rollback,) = [item for item in entries if item["why"] == "drill $(HOME)"]
    assert (rollback["action"], rollback["version"], rollback["who"]) == ("rollback", before, "ada@laptop")


def test_two_versions_are_compared_beside_the_store(second):
    found = json.loads(orchard("job", "diff", str(second.version), str(second.other), "--json", *RELEASE.options))

    assert (found["before"]["version"], found["after"]["version"]) == (second.version, second.other)
    assert {item["judgement"] for item in found["figures"]} <= {"better", "worse", "within noise"}
    assert [item["name"] for item in found["params"]] == ["train.seed"]
    assert found["photos"] == []  # of the same dataset


def test_an_error_of_the_verb_has_its_own_code(deployed):
    error = ask("rollback", "--to", "99999", "--why", "drill", code=4)["error"]

    assert "99999" in error["message"]


def test_a_namespace_without_a_release_is_a_sentence(deployed):
    done = subprocess.run(
        [*command("history"), "--namespace", "e2e-nothing"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )

    assert done.returncode == 1
    assert "the namespace e2e-nothing has no pod template for history" in done.stderr


def test_the_pods_of_the_verbs_hold_no_signing_key_unless_they_change_a_channel(release):
    for verb, signs in (
        ("runs", False),
        ("versions", False),
        ("history", False),
        ("diff", False),
        ("promote", True),
        ("canary", True),
        ("rollback", True),
    ):
        (template,) = release.get("podtemplate", f"{release.fullname}-{verb}")
        volumes = template["template"]["spec"]["volumes"]
        keys = [item["key"] for volume in volumes for item in volume.get("secret", {}).get("items", [])]
        assert ("signing-key.pem" in keys) == signs


def _end_soon(release: Release, name: str) -> None:
    """Let a Job be removed a second after its end; an earlier test's Job may be removed by itself meanwhile."""
    ttl = json.dumps({"spec": {"ttlSecondsAfterFinished": 1}})
    patch = release.kubectl_command("patch", "job", name, f"--patch={ttl}")
    done = subprocess.run(patch, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 or "NotFound" in done.stderr, done.stderr


def test_the_jobs_are_removed_and_the_doctor_does_not_report_the_one_that_failed(deployed):
    with pytest.raises(AssertionError):
        ask("rollback", "--to", "99999", "--why", "drill")
    done = subprocess.run(command("doctor"), capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)
    assert "rollback" not in done.stdout

    jobs = [
        job
        for job in deployed.release.get("jobs")
        if job["metadata"]["labels"]["app.kubernetes.io/component"] == "registry"
    ]
    assert jobs
    assert {job["spec"]["ttlSecondsAfterFinished"] for job in jobs} == {300}
    for job in jobs:  # five minutes are not waited for
        _end_soon(deployed.release, job["metadata"]["name"])
    names = {job["metadata"]["name"] for job in jobs}
    until(
        lambda: not names & {job["metadata"]["name"] for job in deployed.release.get("jobs")},
        300,
        "the removal of the verbs' Jobs",
    )
