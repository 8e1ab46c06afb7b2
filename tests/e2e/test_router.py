"""The router before two model servers: a canary under load, while pods of both are replaced."""

from __future__ import annotations

import time

import pytest

from orchard.registry.channel_weights import set_weight
from orchard.registry.channels import ChangeIntent
from tests.e2e.releases import CHART, await_ready, publish_model, registry_of, release_model, released, run_helm_test
from tests.e2e.service_traffic import MODEL, answers_of, traffic, until

pytestmark = pytest.mark.timeout(3600)

OPTIONS = ("--values", str(CHART / "ci" / "router-values.yaml"), "--set", "router.httpRoute.enabled=false")
SMALL = ("--set", "router.resources.requests.cpu=25m")


def weigh(release, percent, version=None):
    """Set the canary's weight, and wait until both routers have it."""
    with registry_of(release) as registry:
        set_weight(registry, "canary", percent, ChangeIntent("e2e", f"{percent} %"), version=version)
    routers = [item["metadata"]["name"] for item in release.get("pods") if "-router-" in item["metadata"]["name"]]

    def has_weight(pod):
        text = release.kubectl("exec", pod, "--", "readlink", "/tmp/router/current")  # noqa: S108
        return text.strip() == f"weights-{round(percent * 100):05d}"

    until(lambda: all(map(has_weight, routers)), 120, f"the weight {percent} at {routers}")


def restart(release, part):
    release.kubectl("rollout", "restart", f"deployment/{release.fullname}-{part}")
    await_ready(release, part)


def share(found, answers, begin, end):
    """The share of the answers to requests in a time that are a version's, in percent; and how many there were."""
    label_of = dict(enumerate(answers))
    rows = [row for row in found.rows if begin < row.sent < end and row.status == 200]
    hits = sum(
        row.label == label_of[row.photo][0] and abs(row.probability - label_of[row.photo][1]) < 1e-4 for row in rows
    )
    return 100 * hits / max(len(rows), 1), len(rows)


def test_a_canary_and_rolling_updates_behind_the_router_lose_nothing(cluster, zoo):
    with released("router", *OPTIONS, *SMALL) as release:
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
            weigh(release, 50, canary)
            times["half"] = time.time()
            restart(release, "serving")  # a pod without the canary would answer 404
            restart(release, "router")
            times["restarted"] = time.time()
            weigh(release, 0)
            times["ended"] = time.time() + 1
        right = answers_of(release, stable, photos), answers_of(release, canary, photos)

    print("router:", found.figures())
    assert right[0] != right[1]
    assert found.failed() == []
    assert found.wrong(*right) == []
    percent, count = share(found, right[1], times["half"], times["restarted"])
    print(f"router: {percent:.1f} % of {count} went to the canary of 50 %")
    assert 40 < percent < 60
    assert share(found, right[1], 0, times["before"])[0] == 0
    ended, after = share(found, right[1], times["ended"], time.time())
    assert (ended, after > 0) == (0, True)
