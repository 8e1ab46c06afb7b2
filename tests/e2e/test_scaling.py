"""The autoscaler adds model servers under load and removes them after it; no request is lost."""

from __future__ import annotations

import pytest

from tests.e2e.releases import await_ready, chart_values, release_model, released
from tests.e2e.service_traffic import answers_of, say, traffic, until

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]

SCALED = (
    "serving.autoscaling.minReplicas=1",
    "serving.autoscaling.maxReplicas=2",
    "serving.autoscaling.calmSeconds=15",
)


def replicas(release):
    return release.get("deployment", f"{release.fullname}-serving")[0]["status"].get("readyReplicas", 0)


def test_the_autoscaler_scales_out_under_load_and_in_after_it(cluster, zoo):
    options = [*chart_values("ha"), *(part for item in SCALED for part in ("--set", item))]
    with released("ha", *options) as release:
        version = release_model(release, zoo, "one")
        await_ready(release)
        assert release.get("poddisruptionbudget", f"{release.fullname}-serving")[0]["spec"]["maxUnavailable"] == 1
        photos = [path.read_bytes() for path in sorted((zoo / "photos" / "test_photos").glob("*.jpg"))]
        right = answers_of(release, version, photos)
        until(lambda: replicas(release) == 1, 600, "one pod without load")

        with traffic(release, photos, rate=150) as found:
            until(lambda: replicas(release) == 2, 600, "two pods under load")
        until(lambda: len(release.serving_pods()) == 1, 600, "one pod after it")

        say("scaled out under load:", found.figures())
        assert found.failed() == []
        assert found.wrong(right) == []
        await_ready(release)
