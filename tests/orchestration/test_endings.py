"""How a pod's end is reported."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard import errors
from orchestration.pod_status import FINAL, SKIPPED, obstacle, read
from training.pipeline import step_summary


def pod(state=None, **status):
    if state is not None:
        status["containerStatuses"] = [{"name": "base", "state": state}]
    return {"spec": {"containers": [{"name": "base"}]}, "status": status}


def ended(code, message="", reason="Error"):
    return pod({"terminated": {"exitCode": code, "reason": reason, "message": message}}, phase="Failed")


def test_a_steps_summary_is_its_message(tmp_path):
    path = tmp_path / "word"
    step_summary.write(path, "gate", SKIPPED, "refused:\n0.91 is under 0.97", {"gate": "runs/r/pages/gate.html"})

    result = read(ended(SKIPPED, path.read_text()))

    assert result.message == "refused: 0.91 is under 0.97"
    assert result.links == {"gate": "runs/r/pages/gate.html"}


def test_a_steps_failure_is_reported_with_its_own_advice(tmp_path):
    path = tmp_path / "word"
    error = errors.DataError("9 of 9 photos refused", hint="correct the folder")
    step_summary.write(path, "ingest", 4, step_summary.failure_text(error))

    result = read(ended(4, path.read_text()))

    assert str(result) == "9 of 9 photos refused (exit code 4)\nwhat to do: correct the folder"
    assert result.final


def test_without_a_summary_the_tail_of_the_log_is_reported():
    result = read(ended(6, "loss 0.1\nerror: the store does not answer\n  fix: start it\n"))

    assert str(result) == "the store does not answer (exit code 6)\nwhat to do: start it"
    assert not result.final


def test_every_exit_code_has_its_own_advice():
    codes = {
        item.exit_code
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, errors.OrchardError)
    }
    codes -= {1}

    hints = [read(ended(code)).advice for code in sorted(codes)]

    assert len(set(hints)) == len(codes)
    assert set(FINAL) <= codes | {2}


def test_a_pod_killed_for_memory_is_retried_whatever_its_code():
    result = read(ended(137, "epoch 3", "OOMKilled"))

    assert "memory" in result.advice
    assert not result.final


@pytest.mark.parametrize(
    ("reason", "final"), [("ErrImagePull", False), ("ImagePullBackOff", False), ("InvalidImageName", True)]
)
def test_a_registry_may_recover_and_a_wrong_name_may_not(reason, final):
    waiting = pod({"waiting": {"reason": reason, "message": "no"}}, phase="Pending")

    assert read(waiting).final is final
    assert "image" in read(waiting).advice
    assert obstacle(waiting) == f"base: {reason}: no"


def test_a_pod_that_waits_for_a_volume_is_explained_by_its_events():
    waiting = pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending")

    result = read(waiting, warning='FailedMount: secret "keys" not found')

    assert result.message == 'its pod did not start: FailedMount: secret "keys" not found'
    assert "Secret" in result.advice
    assert result.final


def test_a_pod_for_which_no_node_has_room():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "insufficient cpu"}

    result = read(pod(phase="Pending", conditions=[condition]))

    assert result.message == "its pod did not start: Unschedulable: insufficient cpu"
    assert "no node" in result.advice


def test_an_evicted_pod_is_retried():
    result = read(pod(phase="Failed", reason="Evicted", message="disk"))

    assert "Evicted: disk" in result.message
    assert not result.final


@given(
    st.text() | st.dictionaries(st.text(), st.text() | st.none() | st.integers()).map(json.dumps), st.integers(0, 255)
)
def test_every_message_of_a_pod_is_read(message, code):
    result = read(ended(code, message))

    assert result.code == code
    assert result.advice
