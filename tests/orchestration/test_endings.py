"""How a pod's end is told."""

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


def test_a_steps_last_word_is_what_was_said(tmp_path):
    path = tmp_path / "word"
    step_summary.write(path, "gate", SKIPPED, "refused:\n0.91 is under 0.97", {"gate": "runs/r/pages/gate.html"})

    found = read(ended(SKIPPED, path.read_text()))

    assert found.said == "refused: 0.91 is under 0.97"
    assert found.links == {"gate": "runs/r/pages/gate.html"}


def test_a_steps_failure_is_told_with_its_own_advice(tmp_path):
    path = tmp_path / "word"
    error = errors.DataError("9 of 9 photos refused", hint="correct the folder")
    step_summary.write(path, "ingest", 4, step_summary.failure_text(error))

    found = read(ended(4, path.read_text()))

    assert str(found) == "9 of 9 photos refused (exit code 4)\nwhat to do: correct the folder"
    assert found.final


def test_the_tail_of_a_log_tells_where_there_is_no_last_word():
    found = read(ended(6, "loss 0.1\nerror: the store does not answer\n  fix: start it\n"))

    assert str(found) == "the store does not answer (exit code 6)\nwhat to do: start it"
    assert not found.final


def test_every_exit_code_has_an_advice_of_its_own():
    codes = {getattr(errors, name).exit_code for name in errors.__all__} - {1}

    hints = [read(ended(code)).advice for code in sorted(codes)]

    assert len(set(hints)) == len(codes)
    assert set(FINAL) <= codes | {2}


def test_what_was_killed_for_its_memory_is_tried_again_whatever_its_code():
    found = read(ended(137, "epoch 3", "OOMKilled"))

    assert "memory" in found.advice
    assert not found.final


@pytest.mark.parametrize(
    ("reason", "final"), [("ErrImagePull", False), ("ImagePullBackOff", False), ("InvalidImageName", True)]
)
def test_a_registry_may_come_back_and_a_wrong_name_does_not(reason, final):
    waiting = pod({"waiting": {"reason": reason, "message": "no"}}, phase="Pending")

    assert read(waiting).final is final
    assert "image" in read(waiting).advice
    assert obstacle(waiting) == f"base: {reason}: no"


def test_of_a_pod_that_waits_for_a_volume_only_its_events_tell():
    waiting = pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending")

    found = read(waiting, warning='FailedMount: secret "keys" not found')

    assert found.said == 'its pod did not begin: FailedMount: secret "keys" not found'
    assert "Secret" in found.advice
    assert found.final


def test_a_pod_that_no_node_has_room_for():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "insufficient cpu"}

    found = read(pod(phase="Pending", conditions=[condition]))

    assert found.said == "its pod did not begin: Unschedulable: insufficient cpu"
    assert "no node" in found.advice


def test_an_evicted_pod_is_tried_again():
    found = read(pod(phase="Failed", reason="Evicted", message="disk"))

    assert "Evicted: disk" in found.said
    assert not found.final


@given(
    st.text() | st.dictionaries(st.text(), st.text() | st.none() | st.integers()).map(json.dumps), st.integers(0, 255)
)
def test_whatever_a_pod_leaves_behind_is_read(message, code):
    found = read(ended(code, message))

    assert found.code == code
    assert found.advice
