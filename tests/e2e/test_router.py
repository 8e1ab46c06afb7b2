"""The router before two model servers: a canary under load, while pods of both are replaced; the page, captures, webhooks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import requests

from orchestration.cluster.deploy.deploy_loop import await_live
from orchestration.cluster.deploy.port_forward import forward
from orchestration.cluster.deploy.release import Release
from orchestration.cluster.deploy.retrain_run import opened_store
from tests.e2e.conftest import orchard
from tests.e2e.releases import (
    apply,
    await_ready,
    chart_values,
    publish_model,
    registry_of,
    release_model,
    released,
    run_helm_test,
)
from tests.e2e.service_traffic import MODEL, answers_of, say, traffic, until

pytestmark = pytest.mark.timeout(3600)

VALUES = (
    *("router.httpRoute.enabled=false", "router.resources.requests.cpu=25m", "serving.capture=100"),
    *("console.enabled=true", "console.resources.requests.cpu=10m", "webhooks.secret=webhooks"),
)
OPTIONS = (*chart_values("router"), '--set-json=webhooks.args=["--interval", "2"]')
RECEIVERS = {
    "receivers": [
        {"name": "page", "url": "http://orchard-console:8503/", "form": "slack", "allow_http": True, "internal": True}
    ]
}
"""A receiver that is there and accepts no POST."""


@pytest.fixture(scope="module")
def release(cluster: None) -> Iterator[Release]:
    values = [part for value in VALUES for part in ("--set", value)]
    with released("router", *OPTIONS, *values) as release:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhooks"}}
        apply(release, json.dumps({**secret, "stringData": {"webhooks.yaml": json.dumps(RECEIVERS)}}))
        yield release


def job(release, verb, *arguments):
    """Run a verb beside the release's store, as `orchard job` does from any laptop."""
    orchard("job", verb, *map(str, arguments), "--why", f"e2e: {verb}", *release.options)


def await_weights(release, canary, shadow):
    """Wait until both routers have these weights, in percent."""
    routers = [item["metadata"]["name"] for item in release.get("pods") if "-router-" in item["metadata"]["name"]]
    name = f"weights-{canary * 100:05d}-{shadow * 100:05d}"

    def has_weights(pod):
        return release.kubectl("exec", pod, "--", "readlink", "/tmp/router/current").strip() == name  # noqa: S108

    until(lambda: all(map(has_weights, routers)), 120, f"{name} at {routers}")


def restart(release, part):
    release.kubectl("rollout", "restart", f"deployment/{release.fullname}-{part}")
    await_ready(release, part)


def share(found, answers, begin, end):
    """The share of the answers to requests in a time that are a version's, in percent; and how many there were."""
    hits = found.of(answers, begin, end)
    return 100 * sum(hits) / max(len(hits), 1), len(hits)


def test_a_canary_and_rolling_updates_behind_the_router_lose_nothing(release, zoo):
    stable = release_model(release, zoo, "one")
    await_ready(release)
    await_ready(release, "router")
    assert ": 0 of " in run_helm_test(release)
    with registry_of(release) as registry:
        canary = publish_model(registry, zoo, "two")
    photos = [path.read_bytes() for path in sorted((zoo / "photos" / "test_photos").glob("*.jpg"))]
    times = {}
    with traffic(release, photos, service=("router", 8080), path=f"/v1/models/{MODEL}:predict") as found:
        times["before"] = time.time()
        job(release, "canary", 50, canary)
        await_weights(release, 50, 0)
        times["half"] = time.time()
        job(release, "shadow", 20, canary)
        await_weights(release, 50, 20)
        right = answers_of(release, stable, photos), answers_of(release, canary, photos)
        restart(release, "serving")  # a pod without the canary would answer 404
        restart(release, "router")
        times["restarted"] = time.time()
        job(release, "canary", 0)
        await_weights(release, 0, 20)
        times["ended"] = time.time() + 1
        until(lambda: time.time() > times["ended"] + 3, 10, "some traffic without the canary")
        times["promoted"] = time.time()
        job(release, "promote", "canary")
        await_weights(release, 0, 0)  # the shadow's version is stable now
        await_live(release, canary)
        times["live"] = time.time() + 1
        until(lambda: time.time() > times["live"] + 3, 10, "some traffic on the promoted version")

    say("router:", found.figures())
    assert right[0] != right[1]
    assert found.failed() == []
    assert found.wrong(*right) == []
    percent, count = share(found, right[1], times["half"], times["restarted"])
    say(f"router: {percent:.1f} % of {count} went to the canary of 50 %")
    assert 40 < percent < 60
    assert share(found, right[1], 0, times["before"])[0] == 0
    ended, count = share(found, right[1], times["ended"], times["promoted"])
    assert (ended, count > 0) == (0, True)
    promoted, count = share(found, right[1], times["live"], time.time())
    assert (promoted, count > 0) == (100, True)


def found_below(release, folder):
    with opened_store(release, "housekeeping") as store:
        return [stat.key for stat in store.list(folder)]


def test_the_page_takes_a_correction_and_photos_are_captured(release, zoo):
    photo = next((zoo / "photos" / "test_photos").glob("*.jpg")).read_bytes()
    await_ready(release, "console")
    with forward(release, f"service/{release.fullname}-router", 8080) as url:
        page = requests.get(url, timeout=30)
        state = requests.get(f"{url}/console/api/state", timeout=30).json()
        answer = requests.post(
            f"{url}/v1/models/{MODEL}:predict", photo, headers={"Content-Type": "image/jpeg"}, timeout=30
        )
        live = state["channels"]["stable"]["pointer"]["version"]
        corrected = requests.post(
            f"{url}/console/api/corrections", photo, params={"label": "something else", "version": live}, timeout=30
        )

    assert (page.status_code, "<title>" in page.text) == (200, True)
    assert state["problems"] == {}
    assert state["total_versions"] == 2
    assert state["sync"] is not None
    assert answer.status_code == 200, answer.text
    assert (corrected.status_code, corrected.json()["new"]) == (201, True), corrected.text
    assert len(found_below(release, f"review/{MODEL}/corrections")) == 1
    until(lambda: found_below(release, f"capture/{MODEL}"), 120, "photos are captured")


def test_a_promotion_is_sent_to_the_receiver_of_the_secret_and_recorded(release):
    await_ready(release, "notify")

    def deliveries():
        with opened_store(release, "notifier") as store:
            keys = [stat.key for stat in store.list(f"webhooks/{MODEL}/page/deliveries")]
            return [json.loads(store.get(key).body) for key in keys]

    until(lambda: any(one["attempts"] for one in deliveries()), 180, "an event is sent")
    assert "orchard.channel.promoted" in {one["event"]["type"] for one in deliveries()}
    assert {attempt["status"] for one in deliveries() for attempt in one["attempts"]} <= {403, 404, 405}
