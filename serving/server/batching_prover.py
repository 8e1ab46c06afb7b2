"""Examines loaded versions, one after another and beside their requests, which run alone until then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from serving.server.batching import lower_priority
from serving.server.servable import Servable

__all__ = ["BatchingProver"]

_NICE = 10
"""Below the threads that run requests."""


class BatchingProver:
    """A thread that lets `Servable.prove_batching` decide which requests may run together.

    A version answers before: its examination takes longer than its load, because a signature's first run builds
    TensorFlow's executor.

    Args:
        report: called with each version whose examination has ended.
    """

    def __init__(self, report: Callable[[Servable], None]) -> None:
        self._report = report
        self._versions: SimpleQueue[Servable | None] = SimpleQueue()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="prove", daemon=True).start()

    def add(self, servable: Servable) -> None:
        """Have a version examined."""
        self._versions.put(servable)

    def stop(self) -> None:
        """End the thread after the versions that wait."""
        self._versions.put(None)

    def _run(self) -> None:
        lower_priority(_NICE)
        while (servable := self._versions.get()) is not None:
            if servable.prove_batching():
                self._report(servable)
