"""The client of Airflow in a cluster: over real HTTP, through a `kubectl` that forwards to a test's server."""

from __future__ import annotations

import json
import os
import shlex

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from orchestration.cluster.deploy import airflow_client as module
from orchestration.cluster.deploy.airflow_client import AirflowRefused, follow, password_command, reach_airflow
from orchestration.cluster.kube_client import ClusterError
from tests.airflow_requests import backfill, list_runs, stop_run
from tests.orchestration.release_fixture import RELEASE, FakeAirflow, ReleaseFixture, task

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["detail", "msg", "event", "error_detail", "exc_value", "x"]), inner)
    ),
)


@pytest.fixture
def release(api, tmp_path, monkeypatch):
    fixture = ReleaseFixture(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fixture.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 20.0)
    fixture.install_airflow(api)
    return fixture


@pytest.fixture
def airflow(release):
    with reach_airflow(RELEASE) as client:
        yield client


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_command_for_the_password_is_one_line_for_a_shell():
    words = shlex.split(password_command(RELEASE))

    assert words[:7] == ["kubectl", "--context", "kind-orchard", "--namespace", "fruit", "get", "secret"]
    assert words[7] == "shop-orchard-airflow"
    assert words[8] == '--output=go-template={{index .data "admin-password" | base64decode}}{{"\\n"}}'


def test_a_release_without_airflow_is_an_error_with_a_hint(release):
    release.objects["deployments"] = []
    release.save()

    with pytest.raises(ClusterError, match="the release shop in fruit has no Airflow") as error, reach_airflow(RELEASE):
        pass
    assert "AIRFLOW=1" in error.value.hint


def test_it_logs_in_once_and_forwards_only_in_its_context(release, api):
    with reach_airflow(RELEASE) as airflow:
        assert airflow.health() == {"scheduler": {"status": "healthy"}}
        assert airflow.address() == (f"http://127.0.0.1:{api.server.port}", "token-1")
        (pid,) = release.forwarding()
        assert not has_ended(pid)

    assert api.tokens == 1
    assert has_ended(pid)


def test_a_run_is_started_with_its_id_and_the_same_id_again_is_the_same_run(airflow, api):
    assert airflow.start("retrain", {"profile": "short"}, "make__1") == "make__1"
    assert airflow.start("retrain", {"profile": "short"}, "make__1") == "make__1"
    airflow.start("batch_predict", {}, "day", day="2026-11-24")

    document = {"dag_run_id": "make__1", "logical_date": None, "conf": {"profile": "short"}}
    assert api.requests[0] == ("POST", "/api/v2/dags/retrain/dagRuns", document)
    assert api.requests[2][2]["logical_date"] == "2026-11-24T00:00:00Z"
    assert list(api.runs) == ["make__1", "day"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, {"detail": "The Dag with ID: `retrain` was not found"}, "The Dag with ID: `retrain` was not found"),
        (422, {"detail": [{"msg": "Field required", "loc": ["body"]}, {"msg": "no date"}]}, "Field required; no date"),
        (400, {"detail": {"msg": "'long' is not one of full, short"}}, "'long' is not one of full, short"),
        (400, b"<html>no</html>", "<html>no</html>"),
        (400, ["no"], '["no"]'),
    ],
)
def test_a_refusal_has_airflows_reason_and_is_not_repeated(airflow, api, status, body, message):
    api.replies = [(status, body)]

    with pytest.raises(AirflowRefused) as error:
        airflow.start("retrain", {}, "make__1")

    assert error.value.status == status
    assert error.value.message == f"Airflow refused POST /dags/retrain/dagRuns: {message}"
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_after_an_expired_token_or_a_server_error_it_logs_in_again(airflow, api, status):
    assert airflow.health()
    api.replies = [(status, {"detail": "not now"})]

    assert airflow.health()

    assert api.tokens == 2, "it logs in again"


def test_after_the_pod_was_replaced_the_next_request_reaches_the_new_one(airflow, release, api):
    airflow.health()
    other = FakeAirflow()
    try:
        release.forward("service/shop-orchard-airflow", 8080, other.server.port)
        api.server.close()

        assert airflow.start("retrain", {}, "make__2") == "make__2"
        assert list(other.runs) == ["make__2"]
    finally:
        other.server.close()
    old, _ = release.forwarding()
    assert has_ended(old)


def test_without_an_answer_the_request_fails_with_the_reason(airflow, release, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.3)
    release.ports.clear()
    release.save()

    with pytest.raises(
        ClusterError, match="Airflow does not answer: cannot forward a port to service/shop-orchard-airflow: Error from"
    ) as error:
        airflow.health()
    assert "make doctor" in error.value.hint


def test_a_wrong_password_is_reported(airflow, release, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.3)
    release.objects["secret"] = []
    release.secret("shop-orchard-airflow", admin_password="old")  # noqa: S106

    with pytest.raises(ClusterError, match=r"log-in failed: 401 .*Invalid credentials"):
        airflow.health()


def test_runs_and_backfills_are_requested_in_airflows_format(airflow, api):
    airflow.start("retrain", {}, "one")

    assert backfill(airflow, "batch_predict", "2026-11-18", "2026-11-20") == 7
    stop_run(airflow, "retrain", "one")
    assert [item["dag_run_id"] for item in list_runs(airflow, "retrain")] == ["one"]

    _, begun, stopped, _ = api.requests
    assert begun[2] | {"max_active_runs": 1, "run_backwards": False} == begun[2]
    assert (begun[2]["from_date"], begun[2]["to_date"]) == ("2026-11-18T00:00:00Z", "2026-11-20T00:00:00Z")
    assert stopped == ("PATCH", "/api/v2/dags/retrain/dagRuns/one?update_mask=state", {"state": "failed"})


def test_a_log_has_its_lines_and_the_causes_after_the_failures_line(airflow, api):
    causes = [{"exc_type": "AirflowException", "exc_value": "train: killed"}, {"exc_value": "what to do: more memory"}]
    api.logs["train/2"] = [{"event": "begin"}, "plain", {"event": "Task failed", "error_detail": causes}]

    assert airflow.log("retrain", "one", "train", 2) == [
        "begin",
        "plain",
        "Task failed\ntrain: killed\nwhat to do: more memory",
    ]


def test_a_run_is_followed_to_its_end_and_each_change_is_reported_once(airflow, api):
    begun, later = "2026-11-24T10:00:00Z", "2026-11-24T10:00:05Z"
    api.timeline = [
        ("queued", [task("train", None), task("validate", None)]),
        ("running", [task("train", None), task("validate", "queued")]),
        ("running", [task("train", "scheduled"), task("validate", "success", begun, 4.5)]),
        ("running", [task("train", "deferred", later), task("validate", "success", begun, 4.5)]),
        ("running", [task("train", "up_for_retry", later, 9.0), task("validate", "success", begun, 4.5)]),
        (
            "failed",
            [
                task("gate", "upstream_failed"),
                task("train", "failed", later, 9.5),
                task("validate", "success", begun, 4.5),
            ],
        ),
    ]
    changes = []

    ended = follow(airflow, "retrain", "one", lambda *change: changes.append(change))

    assert ended == {"dag_run_id": "one", "state": "failed"}
    assert changes == [
        ("validate", "running", 0.0),
        ("validate", "success", 4.5),
        ("train", "running", 0.0),
        ("train", "up_for_retry", 9.0),
        ("train", "failed", 9.5),
        ("gate", "upstream_failed", 0.0),
    ]


@given(st.binary() | JSON.map(lambda document: json.dumps(document).encode()))
def test_every_refusal_becomes_a_text(body):
    reply = requests.Response()
    reply._content, reply.encoding = body, "utf-8"

    assert isinstance(module._reason(reply), str)


@given(st.dictionaries(st.sampled_from(["event", "error_detail", "level"]), JSON))
def test_every_line_of_a_log_becomes_a_text(line):
    assert isinstance(module._log_line(line), str)
