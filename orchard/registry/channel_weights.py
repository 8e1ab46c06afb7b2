"""Weights: which share of the traffic a channel beside stable gets, until its version is promoted or has lost its weight.

The canary answers its share of the requests. The shadow gets a copy of its share, and nobody waits for its answers. The
weight is a field of the channel's signed pointer. sync brings it to the router once the engine serves that version; what
has no router ignores it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchard.channel_names import WEIGHTED
from orchard.errors import DataError
from orchard.registry.channels import ChangeIntent, Channel, ChannelChange, Weight
from orchard.registry.known_channels import find_channel

if TYPE_CHECKING:
    from orchard.registry.versions import ModelVersions

__all__ = ["end_weights", "set_weight"]


def set_weight(
    registry: ModelVersions,
    name: str,
    percent: float,
    intent: ChangeIntent,
    *,
    version: int | None = None,
    override_reason: str | None = None,
) -> ChannelChange:
    """Give a version a share of the traffic, by a channel of `WEIGHTED`. The same again changes nothing.

    Args:
        registry: the model's versions and channels.
        name: the channel.
        percent: the share, 0 to 100 in steps of 0.01. 0: the version stays in the channel, without traffic.
        intent: the actor and the reason.
        version: the version, which is verified; None: the one that the channel points to.
        override_reason: why a version gets traffic that the gate has not accepted.

    Raises:
        DataError: the channel gets no traffic, there is no such version, none in the channel yet, no reason, or `percent`
            is out of range.
        GateRefused: the version's verdict is neither accepted nor overridden, and no reason was given here.
        IntegrityError: the version is damaged, or the channel or its history is invalid.
        ConflictError: another change came in between; nothing was changed.
    """
    if name not in WEIGHTED:
        raise DataError(f"the channel {name!r} has no weight; {' and '.join(WEIGHTED)} have one")
    channel, weight = find_channel(registry, name), Weight(float(percent))
    if version is None:
        now = channel.read()
        if now is None:
            raise DataError(
                f"the channel {name!r} of {registry.model!r} points to no version yet",
                hint=f"name one: `orchard {name} 10 latest --why …`",
            )
        version, override_reason = now.version, override_reason or now.override_reason
    return channel.promote(version, intent, override_reason=override_reason, weight=weight)


def end_weights(registry: ModelVersions, version: int, intent: ChangeIntent) -> list[ChannelChange]:
    """Take the weight from every channel that points to `version`, which was promoted to stable; returns the changes.

    Raises:
        IntegrityError: a channel or its history is invalid.
        ConflictError: another change came in between.
    """
    changes = []
    for channel in (Channel(registry, name) for name in WEIGHTED):
        now = channel.read()
        if now is not None and now.version == version and now.weight is not None:
            changes.append(channel.promote(version, intent, override_reason=now.override_reason, weight=Weight(None)))
    return changes
