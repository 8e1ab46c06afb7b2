"""The chart with keys that exist already: they are used, and none is created."""

from __future__ import annotations

import json

import pytest

from tests.e2e.releases import apply, chart_values, check_predictions, documents, released

pytestmark = pytest.mark.timeout(3600)


def test_existing_keys_are_used(deployed, zoo):
    """As from a backup: Secrets of another release, under other names."""
    names = {
        f"store-{name}": f"my-store-{name}" for name in ("server", "admin", "ingest", "trainer", "publisher", "sync")
    }
    names["signing"] = "my-signing"
    with released("existing-secret", *chart_values("existing-secret")) as release:
        for source, name in names.items():
            data = documents(deployed.release, "secret", f"{deployed.release.fullname}-{source}")["data"]
            # under the chart's own names too: the test publishes with those keys
            for secret_name in (name, f"{release.fullname}-{source}"):
                secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret_name}, "data": data}
                apply(release, json.dumps(secret))
        assert "keys" not in {item["metadata"]["labels"]["app.kubernetes.io/component"] for item in release.get("jobs")}
        check_predictions(release, zoo)
