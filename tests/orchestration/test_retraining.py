"""`make retrain`, with Airflow over HTTP, the real store, and `kubectl` as a program."""

from __future__ import annotations

import os
import re

import pytest

from orchard.reporter import Reporter
from orchard.runs import records
from orchard.runs.records import StepRecord
from orchard.signing import create_pair
from orchestration.cluster.deploy import airflow_client
from orchestration.cluster.deploy.airflow_client import AirflowRefused
from orchestration.cluster.deploy.retrain_run import _advice, ended_steps, retrain
from orchestration.cluster.kube_client import ClusterError
from orchestration.names import run_id
from tests.orchestration.release_fixture import RELEASE, FakeAirflowServer, ReleaseFixture, task

STEPS = ("validate", "train", "evaluate", "gate", "publish", "promote")


@pytest.fixture
def sync():
    """A model server's pod that serves version 7 after a while."""
    first = iter([{"ready": False, "channels": {}, "problems": {"store": "it does not answer"}}])
    served = {"ready": True, "channels": {"stable": {"served": 7, "live": True}}, "problems": {}}
    server = FakeAirflowServer(lambda method, path, headers, document: (200, next(first, served)))
    yield server
    server.close()


@pytest.fixture
def release(api, sync, seaweed_environment, tmp_path, monkeypatch):
    fixture = ReleaseFixture(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fixture.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(airflow_client, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(airflow_client, "_PATIENCE_SECONDS", 20.0)
    fixture.install_airflow(api)
    fixture.install_store(seaweed_environment, create_pair(tmp_path / "keys"))
    fixture.add("pods", "sync-1", component="serving")
    fixture.forward("pod/sync-1", 8502, sync.port)
    return fixture


@pytest.fixture
def write_records(seaweed):
    """Write the records of a run's steps to the store; all but the last are done."""

    def write(run, *steps, outcome="done", reason=""):
        for verb in steps:
            last = verb == steps[-1]
            result = {"version": 7} if verb == "publish" else {}
            ended = StepRecord(outcome if last else "done", reason if last else "", "", "", 1.0, result, None, ())
            records.end_step(seaweed, run_id("retrain", run), verb, ended)

    return write


def done(*names):
    return [task(name, "success", f"2026-11-24T10:00:0{place}Z", 1.5) for place, name in enumerate(names)]


def test_a_run_that_published_is_followed_until_its_version_is_live(release, api, sync, write_records, capsys):
    write_records("nightly", *STEPS)
    api.timeline = [("running", [task("validate", "running", "2026-11-24T10:00:00Z")]), ("success", done(*STEPS))]

    result = retrain(RELEASE, {"profile": "short"}, "nightly", Reporter(as_json=False))

    assert (result.code, result.text) == (0, "version 7 is live on stable")
    assert result.document == {
        "run": "nightly",
        "state": "success",
        "outcomes": dict.fromkeys(STEPS, "done"),
        "version": 7,
    }
    assert api.runs["nightly"]["conf"] == {"profile": "short"}
    output = capsys.readouterr().err.splitlines()
    assert output[0] == "run nightly of retrain; to follow it again: make retrain RUN=nightly"
    assert output[1] == f"validate   {'':8}  running"
    assert output[2:] == [f"{name:<10}    1.5 s  done" for name in STEPS]
    assert [path for _, path, _ in sync.requests] == ["/status", "/status"], "it waits for the version"


def test_the_same_run_again_is_followed_and_not_started_twice(release, api, write_records):
    write_records("nightly", *STEPS)
    api.timeline = [("success", done(*STEPS))]

    first, again = (retrain(RELEASE, {}, "nightly", Reporter(as_json=True)) for _ in range(2))

    assert first == again
    assert list(api.runs) == ["nightly"]


def test_a_run_without_an_id_gets_one_from_the_time(release, api, write_records):
    api.timeline = [("failed", [])]

    result = retrain(RELEASE, {}, None, Reporter(as_json=True))

    assert re.fullmatch(r"make__\d{8}T\d{6}", result.document["run"])
    assert list(api.runs) == [result.document["run"]]


REFUSALS = {
    "the gate refused": ("gate", "refused", "0.91 is under 0.97", 5),
    "publish gated again and refused": ("publish", "refused", "worse than version 3", 5),
    "a newer version is live": ("promote", "superseded", "stable points to version 8 already", 0),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_run_without_a_new_version_has_a_reason_and_an_exit_code(release, api, sync, write_records, capsys, name):
    verb, outcome, reason, code = REFUSALS[name]
    through = STEPS[: STEPS.index(verb) + 1]
    write_records("nightly", *through, outcome=outcome, reason=reason)
    api.timeline = [("success", [*done(*through[:-1]), *(task(name, "skipped") for name in STEPS[len(through) - 1 :])])]

    result = retrain(RELEASE, {}, "nightly", Reporter(as_json=False))

    assert (result.code, result.text.splitlines()[0]) == (code, f"{verb}: {outcome}: {reason}")
    assert ('make retrain FORCE="reason"' in result.text) == (outcome == "refused")
    assert result.document["reason"] == reason
    assert result.document["outcomes"][verb] == outcome
    assert f"{verb:<10} {'':8}  skipped" in capsys.readouterr().err
    assert sync.requests == [], "no version becomes live"


def test_a_refused_run_of_the_profile_short_says_what_that_profile_is_for():
    assert "leave PROFILE out" in _advice("refused", "short")
    assert "PROFILE" not in _advice("refused", "full")
    assert _advice("skipped", "short") == ""


def test_a_failed_run_ends_with_the_last_lines_of_its_failed_task(release, api, capsys):
    api.timeline = [
        (
            "failed",
            [
                *done("validate"),
                task("train", "failed", "2026-11-24T10:01:00Z", 90.0, tries=3),
                task("gate", "upstream_failed"),
            ],
        )
    ]
    api.logs["train/3"] = [{"event": f"epoch {number}"} for number in range(20)] + [
        {"event": "Task failed", "error_detail": [{"exc_value": "train: killed\nwhat to do: more memory"}]}
    ]

    result = retrain(RELEASE, {}, "nightly", Reporter(as_json=False))

    assert result.code == 1
    assert result.document == {"run": "nightly", "state": "failed", "task": "train"}
    lines = result.text.splitlines()
    assert lines[0] == "epoch 9"
    assert lines[-4:] == [
        "Task failed",
        "train: killed",
        "what to do: more memory",
        "the run nightly failed; the whole log: make airflow",
    ]
    output = capsys.readouterr().err
    assert "train        90.0 s  failed" in output
    assert f"gate       {'':8}  not begun" in output


def test_a_stopped_run_without_a_failed_task_is_a_failure_without_a_log(release, api):
    api.timeline = [("failed", [*done("validate"), task("train", "removed")])]

    result = retrain(RELEASE, {}, "nightly", Reporter(as_json=True))

    assert (result.code, result.document["task"]) == (1, None)
    assert result.text == "the run nightly failed; the whole log: make airflow"


def test_tasks_that_were_marked_as_done_give_no_version(release, api, write_records):
    write_records("nightly", "validate", "train")
    api.timeline = [("success", done(*STEPS))]

    result = retrain(RELEASE, {}, "nightly", Reporter(as_json=True))

    assert result.code == 1
    assert "without a version: was a task marked by hand?" in result.text


def test_invalid_parameters_are_refused_with_airflows_reason(release, api):
    api.replies = [(400, {"detail": "Invalid input for param profile: 'long' is not one of ['full', 'short']"})]

    with pytest.raises(AirflowRefused, match=r"'long' is not one of \['full', 'short'\]"):
        retrain(RELEASE, {"profile": "long"}, "nightly", Reporter(as_json=True))
    assert api.runs == {}


def test_a_release_without_airflow_starts_nothing(release, api):
    release.objects["deployments"] = []
    release.save()

    with pytest.raises(ClusterError, match="has no Airflow"):
        retrain(RELEASE, {}, "nightly", Reporter(as_json=True))
    assert api.server.requests == []


def test_records_are_read_from_the_store_and_the_forwarding_ends(release, write_records):
    write_records("day", "ingest", outcome="skipped", reason="nothing new")

    steps = ended_steps(RELEASE, "retrain", "day")

    assert {verb: ended.outcome for verb, ended in steps.items()} == {"ingest": "skipped"}
    (pid,) = release.forwarding()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
