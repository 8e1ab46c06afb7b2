"""How many corrections one client may send in an hour."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

__all__ = ["MOST_CLIENTS", "ClientQuota"]

MOST_CLIENTS = 10_000
"""How many clients are counted at the same time; the one that began first is forgotten for another."""

_HOUR_S = 3600.0


class ClientQuota:
    """Counts what clients send, each in hours that begin with its first correction.

    Args:
        per_hour: how many a client may send in an hour.
        clock: the time in seconds.
    """

    def __init__(self, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_hour = per_hour
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[float, int]] = {}  # the end of its hour, and how many it has sent; in this order

    def wait_s(self, client: str) -> int:
        """Count one more of a client; return how many seconds it must wait first, 0: none, and then it is counted."""
        with self._lock:
            now = self._clock()
            end, count = self._counts.get(client, (0.0, 0))
            if now >= end:
                self._counts.pop(client, None)
                end, count = now + _HOUR_S, 0
                if len(self._counts) >= MOST_CLIENTS:
                    del self._counts[next(iter(self._counts))]
            if count >= self._per_hour:
                return max(1, math.ceil(end - now))
            self._counts[client] = end, count + 1
            return 0
