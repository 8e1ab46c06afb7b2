"""Whoever waits for a part of a release is told at once why it is not ready, and not longer than something can come."""

from __future__ import annotations

import itertools

import pytest

from orchestration.cluster.deploy import readiness
from orchestration.cluster.deploy.readiness import await_ready
from orchestration.cluster.kube_client import ClusterError
from tests.orchestration.release_fixture import RELEASE, ReleaseFixture

WORKLOADS, ALL = "deployments,statefulsets", "deployments,statefulsets,jobs"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fixture = ReleaseFixture(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(fixture.folder), prepend=":")
    return fixture


@pytest.fixture
def clock(monkeypatch):
    """A clock that every look advances by five seconds; returns the readings."""
    readings: list[float] = []

    def now() -> float:
        readings.append(5.0 * len(readings))
        return readings[-1]

    monkeypatch.setattr(readiness, "monotonic", now)
    monkeypatch.setattr(readiness, "sleep", lambda seconds: None)
    return readings


def deployment(cluster, wanted=1, component="serving"):
    for listed in (WORKLOADS, ALL):
        cluster.add(listed, f"shop-orchard-{component}", component, spec={"replicas": wanted})
        cluster.objects[listed][-1]["kind"] = "Deployment"
    cluster.save()


def pod(cluster, *states, **status):
    names = [f"c{number}" for number in range(len(states))]
    items = [{"name": n, "image": "i:1", "state": state} for n, state in zip(names, states, strict=True)]
    spec = {"containers": [{"name": name} for name in names]}
    cluster.add("pods", "shop-1", "serving", spec=spec, status={"containerStatuses": items, **status})


def test_a_ready_pod_needs_no_word(cluster):
    cluster.ready_pod("shop-1", "serving")
    notes = []

    await_ready(RELEASE, "serving", notes.append)

    assert notes == []


def test_a_part_that_is_scaled_to_zero_ends_the_wait_at_once(cluster, clock):
    deployment(cluster, 0)
    notes = []

    with pytest.raises(ClusterError, match="scaled to 0") as raised:
        await_ready(RELEASE, "serving", notes.append)

    assert len(clock) == 2
    assert "scaled to 0" in notes[0]
    assert "--replicas=1" in raised.value.hint


def test_a_reason_is_said_at_once_and_ends_the_wait_when_it_stays(cluster, clock):
    deployment(cluster)
    pod(cluster, {"waiting": {"reason": "ImagePullBackOff"}})
    notes = []

    with pytest.raises(ClusterError, match="cannot pull the image i:1") as raised:
        await_ready(RELEASE, "serving", notes.append)

    assert "cannot pull the image i:1" in notes[0]
    assert clock[-1] <= 20
    assert "make deploy builds and pushes it" in raised.value.hint


def test_a_pod_that_starts_is_waited_for_with_a_line_every_ten_seconds(cluster, clock):
    deployment(cluster)
    pod(cluster, {"waiting": {"reason": "ContainerCreating"}})
    notes = []

    with pytest.raises(ClusterError, match=r"c0 waits \(ContainerCreating\)"):
        await_ready(RELEASE, "serving", notes.append, seconds=60)

    assert 60 < clock[-1] <= 70
    assert 4 <= len(notes) <= 7


def test_another_part_of_the_release_is_not_the_reason(cluster, clock):
    deployment(cluster)
    pod(cluster, {"running": {}})
    deployment(cluster, 0, "store")
    notes = []

    with pytest.raises(ClusterError, match="c0 runs and is not ready"):
        await_ready(RELEASE, "serving", notes.append, seconds=10)

    assert not any("store" in note for note in notes)


def test_a_release_that_does_not_exist_ends_the_wait_at_once(cluster, clock):
    with pytest.raises(ClusterError, match="has no serving of a release shop"):
        await_ready(RELEASE, "serving", itertools.repeat)
