"""The server's metrics, by name."""

from __future__ import annotations

import time
from collections.abc import Mapping

from serving.log import EventLog
from serving.metrics import MetricsRegistry
from serving.server.model_repository import RepositoryListener, RepositorySnapshot
from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.status_codes import StatusCode

__all__ = ["ServerMetrics"]

_STATES = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
_NAMES = {code: code.name for code in StatusCode}
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics(RepositoryListener):
    """The server's metrics; as the repository's listener it also logs loads and problems."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.registry = registry = MetricsRegistry()
        serving, cc = ":tensorflow:serving:", ":tensorflow:cc:saved_model:"
        self.requests = registry.counter(
            serving + "request_count", "Requests by model and status.", "model_name", "status"
        )
        self.latency = registry.histogram(
            *(serving + "request_latency", "Microseconds from a request's last byte to its answer, successes only."),
            *("model_name", "API", "entrypoint"),
        )
        self.runtime = registry.histogram(
            serving + "runtime_latency", "Microseconds in TensorFlow.", "model_name", "API", "runtime"
        )
        self.loads = registry.counter(cc + "load_attempt_count", "Loads by path and status.", "model_path", "status")
        self.load_latency = registry.counter(cc + "load_latency", "Microseconds spent loading.", "model_path")
        self.runs = registry.counter(":tensorflow:core:graph_runs", "Runs of a graph.")
        self.rows = registry.histogram("orchard_serving_batch_rows", "Rows in a batch.", bounds=_ROWS)
        self.refused = registry.counter(
            "orchard_serving_refused_total", "Requests refused by a limit, by HTTP status.", "status"
        )
        self.captured = registry.counter("orchard_serving_captured_total", "Photos written to the store.", "model_name")
        self.capture_dropped = registry.counter("orchard_serving_capture_dropped_total", "Photos not stored.", "reason")
        self.in_flight = registry.gauge("orchard_serving_in_flight", "Requests being answered.")
        self.waiting = registry.gauge("orchard_serving_waiting", "Requests that wait for a thread.")
        self.connections = registry.gauge("orchard_serving_connections", "Open connections.")
        self.state = registry.gauge(
            "orchard_serving_version_state", "1 for the state that a version is in.", "model_name", "version", "state"
        )
        self.label = registry.gauge(
            "orchard_serving_label_version", "The version that a label points to.", "model_name", "label"
        )
        self.ready = registry.gauge("orchard_serving_model_ready", "Whether a model is ready.", "model_name")
        self.batched = registry.gauge(
            "orchard_serving_batching",
            "1: requests of the signature run together; 0: each runs alone.",
            *("model_name", "version", "signature_name"),
        )
        self.started = registry.gauge("orchard_serving_start_time_seconds", "When the process was started.")
        self.started.set(time.time())

    def loaded(self, path: str, seconds: float, error: ServingError | None) -> None:
        """Count and log a load."""
        self.loads.add(path, "success" if error is None else "fail")
        self.load_latency.add(path, amount=seconds * 1e6)
        if error is None:
            self._log.write("loaded", path=path, seconds=round(seconds, 3))
        else:
            self._log.write("load failed", path=path, seconds=round(seconds, 3), error=str(error))

    def batching(self, servable: Servable) -> None:
        """Log which requests of a version may run together."""
        text = "; ".join(f"{name}: {verdict}" for name, verdict in servable.batching.items())
        self._log.write("batching", path=str(servable.folder), signatures=text)
        if servable.warm_up_requests:
            self._log.write("warmed up", path=str(servable.folder), requests=servable.warm_up_requests)

    def problem(self, text: str) -> None:
        """Log a problem."""
        self._log.write(text)

    def observe_run(self, rows: int, seconds: float) -> None:
        """Count a run of a graph."""
        self.rows.observe(rows)
        self.runs.add()

    def count(self, model: str, code: StatusCode) -> None:
        """Count an answered request."""
        self.requests.add(model, _NAMES[code])

    def update(self, snapshots: Mapping[str, RepositorySnapshot], problems: Mapping[str, list[str]]) -> None:
        """Set the gauges of the repository's state, before the metrics are rendered."""
        self.state.replace(
            ((name, str(number), state), float(state == now))
            for name, snapshot in snapshots.items()
            for number, now, _, _ in snapshot.states
            for state in _STATES
        )
        self.label.replace(
            ((name, label), float(number))
            for name, snapshot in snapshots.items()
            for label, number in snapshot.labels.items()
        )
        self.batched.replace(
            ((name, str(number), signature), float(servable.may_batch(signature)))
            for name, snapshot in snapshots.items()
            for number, servable in snapshot.available.items()
            for signature in servable.batching
        )
        self.ready.replace(((name,), float(not reasons)) for name, reasons in problems.items())
