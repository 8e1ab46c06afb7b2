"""The weights that sync gives the router: those of the pointers, as far as the engine serves their versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchard.channel_names import WEIGHTED
from serving.sync.planning import Observation
from serving.sync.sync_state import SyncState
from serving.traffic_weights import offer_weight

__all__ = ["give_weights", "routed_weight"]


def routed_weight(channel: str, state: SyncState, observed: Observation) -> float | None:
    """The share of the traffic in percent that a channel may get now; None: it is unknown, and stays as it is.

    0 until the engine serves the version that the weight was given to, and confirms its label. While neither the channel
    nor the engine can be read, nothing changes: what was served a moment ago still is.

    Args:
        channel: a channel of `WEIGHTED`.
        state: what sync remembers.
        observed: what it knows beside that.
    """
    pointer = observed.pointers.get(channel)
    if pointer is None:  # none was promoted, or it was not read since the start
        return None if channel in state.channels else 0.0
    if state.labels.get(channel) != pointer.version or state.is_refused(pointer.manifest_sha256):
        return 0.0
    if observed.has_engine and observed.confirmed.get(channel) != pointer.version:
        return 0.0 if observed.statuses is not None else None
    return pointer.weight or 0.0


def give_weights(folder: Path, state: SyncState, observed: Observation) -> Iterator[tuple[str, float]]:
    """Give the router the weights; yields each channel whose weight has changed, and the weight.

    Args:
        folder: the router's folder.
        state: what sync remembers.
        observed: what it knows beside that.

    Raises:
        OSError: the folder cannot be written.
    """
    for channel in WEIGHTED:
        weight = routed_weight(channel, state, observed)
        if offer_weight(folder, weight, channel) and weight is not None:
            yield channel, weight
