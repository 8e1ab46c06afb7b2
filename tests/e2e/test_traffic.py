"""Predictions go on: through a rollout, a new version, and the deaths of sync, store and engine."""

from __future__ import annotations

import os
import time

import pytest

from orchestration.cluster.deploy.loop import await_live
from orchestration.cluster.deploy.store import reach
from tests.e2e.conftest import MODEL, Retried, kill_all, orchard
from tests.e2e.traffic import answers_of, traffic, until

pytestmark = pytest.mark.timeout(1800)

SECONDS = float(os.environ.get("E2E_SECONDS", "60"))


def containers(place, pod, name):
    state = place.get("pod", pod)[0]["status"]
    return next(
        item for kind in ("initContainerStatuses", "containerStatuses") for item in state[kind] if item["name"] == name
    )


def restarted(place, pod, name, before):
    state = containers(place, pod, name)
    return state["restartCount"] > before and state["ready"]


def kill(place, pod, name):
    """Kill a container of a pod, and wait until its successor is ready."""
    before = containers(place, pod, name)["restartCount"]
    kill_all(pod, name)
    until(lambda: restarted(place, pod, name, before), 90, f"{name} of {pod} is back")


def promote(place, version, why):
    with reach(place, "publisher") as found:
        orchard("promote", str(version), "--why", why, **found)


def test_a_rolling_update_loses_nothing(deployed, place):
    right = answers_of(place, deployed.document["version"], deployed.photos)
    with traffic(place, deployed.photos, seconds=SECONDS) as found:
        place.kubectl("rollout", "restart", f"deployment/{place.fullname}-serving")
        place.kubectl("rollout", "status", f"deployment/{place.fullname}-serving", "--timeout=170s", seconds=180)

    print("rolling update:", found.figures())
    assert len(found.rows) == int(SECONDS * 50)
    assert found.failed() == []
    assert found.wrong(right) == []


def test_a_new_version_loses_nothing_and_then_answers_all(deployed, place, second: Retried):
    old, new = deployed.document["version"], second.version
    before = answers_of(place, old, deployed.photos)
    with traffic(place, deployed.photos, seconds=SECONDS) as found:
        promote(place, new, "e2e: a new version under load")
        await_live(place, new)
        live = time.time() + 1
        after = answers_of(place, new, deployed.photos)

    print("new version:", found.figures())
    assert found.failed() == []
    assert found.wrong(before, after) == []
    answered = found.of(after, live)
    assert answered
    assert all(answered)
    assert not all(found.of(after, 0.0))


def test_sync_and_the_store_die_and_nobody_notices(deployed, place):
    version = await_live(place, newest(place))
    right = answers_of(place, version, deployed.photos)
    with traffic(place, deployed.photos, seconds=SECONDS) as found:
        kill(place, place.serving_pods()[0], "sync")
        place.kubectl("delete", "pod", f"{place.fullname}-store-0", "--grace-period=0", "--force")
        place.kubectl("rollout", "status", f"statefulset/{place.fullname}-store", "--timeout=120s")

    print("sync killed, store deleted:", found.figures())
    assert found.failed() == []
    assert found.wrong(right) == []
    assert newest(place) == version  # the store came back with what it held


def test_a_killed_engine_costs_what_was_under_way_and_comes_back(deployed, place):
    version = await_live(place, newest(place))
    right = answers_of(place, version, deployed.photos)
    with traffic(place, deployed.photos, seconds=SECONDS) as found:
        begin = time.time()
        kill(place, place.serving_pods()[0], "engine")
        back = time.time()

    failed = found.failed()
    print("engine killed:", found.figures(), "failed within", [round(row.sent - begin, 1) for row in failed][-1:], "s")
    assert found.wrong(right) == []
    assert [row for row in failed if row.sent > back] == []
    assert len(failed) < 0.5 * (back - begin) * 50  # the other pod goes on
    assert await_live(place, version) == version


def newest(place):
    """The version that the channel means."""
    import json

    with reach(place, "sync") as found:
        entries = json.loads(orchard("history", "--channel", "stable", "--json", **found))["history"]
    assert entries[-1]["model"] == MODEL
    return int(max(entries, key=lambda item: item["generation"])["version"])
