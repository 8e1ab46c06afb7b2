"""`make retrain`, with Airflow over HTTP, the real store, and `kubectl` as a program."""

from __future__ import annotations

import os
import re

import pytest

from orchard.reporter import Reporter
from orchard.runs import records
from orchard.runs.records import StepRecord
from orchard.signing import create_pair
from orchestration.cluster.access import ClusterError
from orchestration.cluster.deploy import airflow_client as asking
from orchestration.cluster.deploy.airflow_client import AirflowRefused
from orchestration.cluster.deploy.retrain_run import ended_steps, retrain
from orchestration.names import run_id
from tests.orchestration.release_fixture import RELEASE, FakeAirflowServer, ReleaseFixture, task

STEPS = ("validate", "train", "evaluate", "gate", "publish", "promote")


@pytest.fixture
def sync():
    """A model server's pod that serves version 7 after a while."""
    looks = iter([{"ready": False, "channels": {}, "problems": {"store": "it does not answer"}}])
    served = {"ready": True, "channels": {"stable": {"served": 7, "live": True}}, "problems": {}}
    made = FakeAirflowServer(lambda method, path, headers, document: (200, next(looks, served)))
    yield made
    made.close()


@pytest.fixture
def release(api, sync, seaweed_environment, tmp_path, monkeypatch):
    made = ReleaseFixture(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(asking, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(asking, "_PATIENCE_SECONDS", 20.0)
    made.install_airflow(api)
    made.install_store(seaweed_environment, create_pair(tmp_path / "keys"))
    made.add("pods", "sync-1", component="serving")
    made.lead("pod/sync-1", 8502, sync.port)
    return made


@pytest.fixture
def say(seaweed):
    """Leave in the store how steps of a run ended, all of them well but the last."""

    def said(run, *steps, outcome="done", reason=""):
        for verb in steps:
            last = verb == steps[-1]
            result = {"version": 7} if verb == "publish" else {}
            ended = StepRecord(outcome if last else "done", reason if last else "", "", "", 1.0, result, None, ())
            records.end_step(seaweed, run_id("retrain", run), verb, ended)

    return said


def done(*names):
    return [task(name, "success", f"2026-11-24T10:00:0{place}Z", 1.5) for place, name in enumerate(names)]


def test_a_run_that_published_is_followed_until_its_version_is_live(release, api, sync, say, capsys):
    say("nightly", *STEPS)
    api.timeline = [("running", [task("validate", "running", "2026-11-24T10:00:00Z")]), ("success", done(*STEPS))]

    came = retrain(RELEASE, {"profile": "short"}, "nightly", Reporter(as_json=False))

    assert (came.code, came.text) == (0, "version 7 is live on stable")
    assert came.document == {
        "run": "nightly",
        "state": "success",
        "outcomes": dict.fromkeys(STEPS, "done"),
        "version": 7,
    }
    assert api.runs["nightly"]["conf"] == {"profile": "short"}
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "run nightly of retrain; to follow it again: make retrain RUN=nightly"
    assert told[1] == f"validate   {'':8}  running"
    assert told[2:] == [f"{name:<10}    1.5 s  done" for name in STEPS]
    assert [path for _, path, _ in sync.asked] == ["/status", "/status"], "it is waited for"


def test_the_same_run_again_is_followed_and_not_begun_twice(release, api, say):
    say("nightly", *STEPS)
    api.timeline = [("success", done(*STEPS))]

    first, again = (retrain(RELEASE, {}, "nightly", Reporter(as_json=True)) for _ in range(2))

    assert first == again
    assert list(api.runs) == ["nightly"]


def test_a_run_without_a_name_gets_one_of_its_time(release, api, say):
    api.timeline = [("failed", [])]

    came = retrain(RELEASE, {}, None, Reporter(as_json=True))

    assert re.fullmatch(r"make__\d{8}T\d{6}", came.document["run"])
    assert list(api.runs) == [came.document["run"]]


ENDINGS = {
    "the gate refused": ("gate", "refused", "0.91 is under 0.97", 5),
    "publish gated again and refused": ("publish", "refused", "worse than version 3", 5),
    "a newer version is live": ("promote", "superseded", "stable means version 8 already", 0),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_run_that_ended_without_a_new_version_says_why_and_its_exit_code_tells_a_refusal(
    release, api, sync, say, capsys, name
):
    verb, outcome, reason, code = ENDINGS[name]
    through = STEPS[: STEPS.index(verb) + 1]
    say("nightly", *through, outcome=outcome, reason=reason)
    api.timeline = [("success", [*done(*through[:-1]), *(task(name, "skipped") for name in STEPS[len(through) - 1 :])])]

    came = retrain(RELEASE, {}, "nightly", Reporter(as_json=False))

    assert (came.code, came.text) == (code, f"{verb}: {outcome}: {reason}")
    assert came.document["reason"] == reason
    assert came.document["outcomes"][verb] == outcome
    assert f"{verb:<10} {'':8}  skipped" in capsys.readouterr().err
    assert sync.asked == [], "nothing is to become live"


def test_a_run_that_failed_ends_with_the_last_words_of_the_task_that_did(release, api, capsys):
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

    came = retrain(RELEASE, {}, "nightly", Reporter(as_json=False))

    assert came.code == 1
    assert came.document == {"run": "nightly", "state": "failed", "task": "train"}
    lines = came.text.splitlines()
    assert lines[0] == "epoch 9"
    assert lines[-4:] == [
        "Task failed",
        "train: killed",
        "what to do: more memory",
        "the run nightly failed; the whole log: make airflow",
    ]
    told = capsys.readouterr().err
    assert "train        90.0 s  failed" in told
    assert f"gate       {'':8}  not begun" in told


def test_a_run_that_was_stopped_before_a_task_failed_is_a_failure_without_words(release, api):
    api.timeline = [("failed", [*done("validate"), task("train", "removed")])]

    came = retrain(RELEASE, {}, "nightly", Reporter(as_json=True))

    assert (came.code, came.document["task"]) == (1, None)
    assert came.text == "the run nightly failed; the whole log: make airflow"


def test_tasks_that_somebody_marked_as_done_are_no_new_version(release, api, say):
    say("nightly", "validate", "train")
    api.timeline = [("success", done(*STEPS))]

    came = retrain(RELEASE, {}, "nightly", Reporter(as_json=True))

    assert came.code == 1
    assert "without a version: was a task marked by hand?" in came.text


def test_parameters_that_the_dag_does_not_take_are_refused_in_its_words(release, api):
    api.replies = [(400, {"detail": "Invalid input for param profile: 'long' is not one of ['full', 'short']"})]

    with pytest.raises(AirflowRefused, match=r"'long' is not one of \['full', 'short'\]"):
        retrain(RELEASE, {"profile": "long"}, "nightly", Reporter(as_json=True))
    assert api.runs == {}


def test_a_release_without_airflow_begins_nothing(release, api):
    release.objects["deployments"] = []
    release.save()

    with pytest.raises(ClusterError, match="has no Airflow"):
        retrain(RELEASE, {}, "nightly", Reporter(as_json=True))
    assert api.server.asked == []


def test_how_steps_ended_is_read_from_the_store_and_the_way_to_it_is_closed(release, say):
    say("day", "ingest", outcome="skipped", reason="nothing new")

    found = ended_steps(RELEASE, "retrain", "day")

    assert {verb: ended.outcome for verb, ended in found.items()} == {"ingest": "skipped"}
    (pid,) = release.forwarding()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
