"""The warnings that a cluster keeps about a release's objects, for an hour."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from orchestration.cluster.deploy.release import Release

__all__ = ["recent_warnings", "seconds_since"]

_RECENT_SECONDS = 900.0


def recent_warnings(release: Release) -> list[dict[str, Any]]:
    """Return the warnings of the namespace in the last 15 minutes, the newest first."""
    listed = json.loads(release.kubectl("get", "events", "--field-selector=type=Warning", "--output=json"))["items"]
    dated = [(seconds_since(_event_time(item)), item) for item in listed]
    return [item for seconds, item in sorted(dated, key=lambda pair: pair[0]) if seconds < _RECENT_SECONDS]


def _event_time(event: dict[str, Any]) -> str | None:
    series = event.get("series") or {}
    return series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")


def seconds_since(moment: str | None) -> float:
    """Return how many seconds ago a time of Kubernetes was; infinity if there is none."""
    return time.time() - datetime.fromisoformat(moment).timestamp() if moment else float("inf")
