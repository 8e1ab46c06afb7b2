"""Requests that arrive together wait for each other for as long as the event loop takes to read them.

A worker that is woken by the first of them would run it alone, and the others would wait until it is done; the graph
takes a fifth less time for a photo among sixteen than for one among four. So idle workers are woken when a turn of the
loop brought no further request. Nothing ever waits for a client that sends nothing: there is no timer, and the request
of an only client is run at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from serving.server.batching import MAX_ROWS, BatchJob, RunThreadPool

__all__ = ["RequestCoalescer"]

_MOST_S = 0.002
"""Requests may arrive without end; whoever came first waits no longer than this."""


class RequestCoalescer:
    """Hands jobs of the event loop's thread to the workers.

    Args:
        workers: who runs them.
        loop: the event loop, in whose thread every method is called.
        expects: whether others may send requests too; if not, a job is run at once.
        most_s: how long a job may be held.
    """

    def __init__(
        self,
        workers: RunThreadPool,
        loop: asyncio.AbstractEventLoop,
        expects: Callable[[], bool] = lambda: True,
        most_s: float = _MOST_S,
    ) -> None:
        self._workers = workers
        self._loop = loop
        self._expects = expects
        self._most_s = most_s
        self._came = 0
        self._held = 0
        self._begin = 0.0

    def submit(self, job: BatchJob) -> None:
        """Let a job wait for a worker. Raises `ServingError` RESOURCE_EXHAUSTED if too many wait already."""
        if not self._workers.put(job):
            return
        self._came += 1
        if not self._held and self._came == 1:
            self._begin = time.monotonic()
            if self._expects():
                self._loop.call_soon(self._turn)
            else:
                self._wake()

    def _turn(self) -> None:
        """A turn of the loop has ended: wait for another one if it brought something."""
        came, self._came = self._came, 0
        self._held += came
        if came and self._held < MAX_ROWS and self._expects() and time.monotonic() - self._begin < self._most_s:
            self._loop.call_soon(self._turn)
        else:
            self._wake()

    def _wake(self) -> None:
        self._came = self._held = 0
        self._workers.wake()
