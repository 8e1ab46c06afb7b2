"""Predictions continue during a rollout, a new version, and crashes of sync, store and engine."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from orchestration.cluster.deploy.deploy_loop import await_live
from orchestration.cluster.deploy.store_access import reach
from tests.e2e.conftest import MODEL, Trained, kill_all, orchard
from tests.e2e.service_traffic import answers_of, say, traffic, until
from tests.e2e.test_doctor import doctor

pytestmark = pytest.mark.timeout(3600)

STORE_DOWN_SECONDS = float(os.environ.get("E2E_STORE_DOWN", "60"))

# Many small processes, so that the model server is the largest, which the kernel kills.
HOGS = "for i in $(seq 150); do python -c 'import time; x = b\"x\" * 40_000_000; time.sleep(60)' & done; wait"


def containers(release, pod, name):
    state = release.get("pod", pod)[0]["status"]
    return next(
        item for kind in ("initContainerStatuses", "containerStatuses") for item in state[kind] if item["name"] == name
    )


def restarted(release, pod, name, before):
    state = containers(release, pod, name)
    return state["restartCount"] > before and state["ready"]


def kill(release, pod, name):
    """Kill a container of a pod, and wait until its successor is ready."""
    before = containers(release, pod, name)["restartCount"]
    kill_all(pod, name)
    until(lambda: restarted(release, pod, name, before), 300, f"{name} of {pod} is back")


def promote(release, version, why):
    with reach(release, "publisher") as variables:
        orchard("promote", str(version), "--why", why, **variables)


def newest(release):
    """Return the version that the channel points to."""
    with reach(release, "sync") as variables:
        entries = json.loads(orchard("history", "--channel", "stable", "--json", **variables))["history"]
    assert entries[-1]["model"] == MODEL
    return int(max(entries, key=lambda item: item["generation"])["version"])


@pytest.fixture
def right(deployed, release):
    """The served version's predictions for the photos."""
    return answers_of(release, await_live(release, newest(release)), deployed.photos)


def test_a_rolling_update_loses_nothing(deployed, release, right):
    with traffic(release, deployed.photos) as found:
        release.kubectl("rollout", "restart", f"deployment/{release.fullname}-serving")
        release.kubectl("rollout", "status", f"deployment/{release.fullname}-serving", "--timeout=600s", seconds=610)

    say("rolling update:", found.figures())
    assert found.failed() == []
    assert found.wrong(right) == []


def test_a_new_version_loses_nothing_and_then_answers_all(deployed, release, right, second: Trained):
    with traffic(release, deployed.photos) as found:
        promote(release, second.version, "e2e: a new version under load")
        await_live(release, second.version)
        live = time.time() + 1
        after = answers_of(release, second.version, deployed.photos)
        until(lambda: time.time() > live + 5, 6, "some traffic on the new version")

    say("new version:", found.figures())
    assert found.failed() == []
    assert found.wrong(right, after) == []
    answered = found.of(after, live)
    assert answered
    assert all(answered)
    assert not all(found.of(after, 0.0))


def test_a_crash_of_sync_and_the_store_loses_no_request(deployed, release, right):
    version = newest(release)
    with traffic(release, deployed.photos) as found:
        kill(release, release.serving_pods()[0], "sync")
        release.kubectl("delete", "pod", f"{release.fullname}-store-0", "--grace-period=0", "--force")
        release.kubectl("rollout", "status", f"statefulset/{release.fullname}-store", "--timeout=600s", seconds=610)

    say("sync killed, store deleted:", found.figures())
    assert found.failed() == []
    assert found.wrong(right) == []
    assert newest(release) == version  # the store restarted with its data


def scale_store(release, replicas):
    name = f"statefulset/{release.fullname}-store"
    release.kubectl("scale", name, f"--replicas={replicas}")
    until(lambda: release.get(*name.split("/"))[0]["status"].get("readyReplicas", 0) == replicas, 300, name)


def test_without_the_store_predictions_continue(deployed, release, right):
    version = newest(release)
    with traffic(release, deployed.photos, least=STORE_DOWN_SECONDS) as found:
        scale_store(release, 0)
        kill(release, release.serving_pods()[0], "sync")  # it continues with the versions on its disk
    try:
        say(f"store down for {STORE_DOWN_SECONDS:.0f} s:", found.figures())
        assert found.failed() == []
        assert found.wrong(right) == []
    finally:
        scale_store(release, 1)
    assert newest(release) == version
    assert await_live(release, version) == version


def check_killed_engine(found, right, begin, back):
    """A dead engine may only lose requests to its pod, until it is back; it never gives a wrong answer."""
    failed = found.failed()
    last = round(max((row.sent for row in failed), default=begin) - begin, 1)
    say("engine killed:", found.figures(), f"failed within {last} s of {back - begin:.1f} s")
    assert found.wrong(right) == []
    assert [row for row in failed if row.sent > back] == []
    assert len(failed) < 0.6 * len(
        [row for row in found.rows if begin - 1 < row.sent < back]
    )  # the other pod continues


def test_a_killed_engine_loses_only_its_own_requests_and_restarts(deployed, release, right):
    version = newest(release)
    with traffic(release, deployed.photos) as found:
        begin = time.time()
        kill(release, release.serving_pods()[0], "engine")
        back = time.time()

    check_killed_engine(found, right, begin, back)
    assert await_live(release, version) == version


def test_an_engine_that_is_killed_for_memory_restarts_and_the_doctor_reports_it(deployed, release, right):
    pod = release.serving_pods()[0]
    before = containers(release, pod, "engine")["restartCount"]
    with traffic(release, deployed.photos) as found:
        begin = time.time()
        hogs = release.kubectl_command("exec", pod, "-c", "engine", "--", "sh", "-c", HOGS)
        subprocess.run(hogs, capture_output=True, check=False, timeout=300)
        until(lambda: restarted(release, pod, "engine", before), 300, "the engine is back")
        back = time.time()

    check_killed_engine(found, right, begin, back)
    assert containers(release, pod, "engine")["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert f"{pod}, engine was killed for memory" in doctor()
    release.kubectl("delete", "pod", pod)  # else the doctor still reports it
    release.kubectl("rollout", "status", f"deployment/{release.fullname}-serving", "--timeout=600s", seconds=610)
