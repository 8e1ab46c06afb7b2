"""The metrics of sync."""

from __future__ import annotations

from serving.metrics import MetricsRegistry

__all__ = ["SyncMetrics"]


class SyncMetrics:
    """The metrics of one sync process."""

    def __init__(self) -> None:
        self.registry = registry = MetricsRegistry()
        name = "orchard_sync_"
        self.last_success = registry.gauge(
            name + "last_success_timestamp_seconds", "When the store last answered; serving continues without it."
        )
        self.age = registry.gauge(name + "store_age_seconds", "Seconds since the store last answered.")
        self.wanted = registry.gauge(name + "wanted_version", "The version that a channel points to.", "channel")
        self.served = registry.gauge(name + "served_version", "The version that a label points to.", "channel")
        self.live = registry.gauge(name + "live", "Whether the engine answers with that version.", "channel")
        self.generation = registry.gauge(name + "generation", "The trusted generation of a channel.", "channel")
        self.ready = registry.gauge(name + "ready", "Whether the stable version is available and validated.")
        self.engine_up = registry.gauge(name + "engine_up", "Whether the engine answers.")
        self.refused = registry.gauge(name + "refused_versions", "Versions that are not tried again.")
        self.failures = registry.counter(name + "failures_total", "Failures by reason.", "reason")
        self.requests = registry.gauge(name + "poll_requests", "Requests that watching the channels has cost.")
        self.bytes = registry.counter(name + "downloaded_bytes_total", "Bytes downloaded from the store.")
        self.moves = registry.counter(name + "label_moves_total", "How often a label was moved.", "channel")
