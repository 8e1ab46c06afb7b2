"""The way from the weights to the traffic: a router beside sync, and a pod's readiness for routers elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchard.channel_names import CANARY
from serving.sync.planning import Observation
from serving.sync.routed_weights import give_weights, routed_weight
from serving.sync.sync_state import SyncState

__all__ = ["AWAIT_S", "CanaryRoute"]

AWAIT_S = 60.0
"""The longest time that readiness waits for the canary, once stable is served."""


class CanaryRoute:
    """Gives a router the weights of canary and shadow, as far as the model server serves their versions.

    A router in front of several pods sends a canary's requests to any of them that is ready. So a pod that starts while
    the canary has a weight is not ready before it serves the canary, too.

    Args:
        folder: by which the router beside sync gets the weights; None: there is no such router.
        log_event: called with each event's name and fields.
        clock: the monotonic clock.
    """

    def __init__(self, folder: Path | None, log_event: Callable[..., None], clock: Callable[[], float]) -> None:
        self._folder = folder
        self._log_event = log_event
        self._clock = clock
        self._awaits_until: float | None = None
        self._was_ready = False
        self.awaited = True

    def update(self, state: SyncState, observed: Observation, *, stable_is_live: bool) -> None:
        """Write the weights, and decide whether readiness waits for the canary.

        Args:
            state: what sync remembers.
            observed: what it knows beside that.
            stable_is_live: whether the model server serves the version of the label stable.

        Raises:
            OSError: the router's folder cannot be written.
        """
        weight = routed_weight(CANARY, state, observed)
        self.awaited = self._is_awaited(weight, state, observed, stable_is_live=stable_is_live)
        for channel, percent in give_weights(self._folder, state, observed) if self._folder else ():
            self._log_event("weight", channel=channel, percent=percent, version=state.labels.get(channel))

    def _is_awaited(
        self, weight: float | None, state: SyncState, observed: Observation, *, stable_is_live: bool
    ) -> bool:
        """Whether a process that was never ready has yet to serve the canary. What was ready stays ready."""
        if self._was_ready or not stable_is_live:
            return not self._was_ready
        if self._awaits_until is None:
            self._awaits_until = self._clock() + AWAIT_S
        pointer = observed.pointers.get(CANARY)
        due = pointer is not None and bool(pointer.weight) and not state.is_refused(pointer.manifest_sha256)
        awaited = due and not weight and self._clock() < self._awaits_until
        self._was_ready = not awaited
        return awaited
