"""The canary: a version that gets a share of the traffic beside stable, until it is promoted or has lost its weight.

The weight is a field of the signed pointer of the channel `canary`. sync brings it to the router once the engine serves
that version; what has no router ignores it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchard.errors import DataError
from orchard.registry.channels import ChangeIntent, Channel, ChannelChange, Weight

if TYPE_CHECKING:
    from orchard.registry.versions import ModelVersions

__all__ = ["CANARY", "end_canary", "set_canary"]

CANARY = "canary"


def set_canary(
    registry: ModelVersions,
    percent: float,
    intent: ChangeIntent,
    *,
    version: int | None = None,
    override_reason: str | None = None,
) -> ChannelChange:
    """Send a share of the traffic to a version, by the channel `canary`. The same again changes nothing.

    Args:
        registry: the model's versions and channels.
        percent: the share, 0 to 100 in steps of 0.01. 0: the version stays the canary, without traffic.
        intent: the actor and the reason.
        version: the version, which is verified; None: the one that the channel points to.
        override_reason: why a version gets traffic that the gate has not accepted.

    Raises:
        DataError: there is no such version, no canary yet, no reason, or `percent` is out of range.
        GateRefused: the version's verdict is neither accepted nor overridden, and no reason was given here.
        IntegrityError: the version is damaged, or the channel or its history is invalid.
        ConflictError: another change came in between; nothing was changed.
    """
    channel, weight = Channel(registry, CANARY), Weight(float(percent))
    if version is None:
        now = channel.read()
        if now is None:
            raise DataError(
                f"the channel {CANARY!r} of {registry.model!r} points to no version yet",
                hint="name one: `orchard canary 10 latest --why …`",
            )
        version, override_reason = now.version, override_reason or now.override_reason
    return channel.promote(version, intent, override_reason=override_reason, weight=weight)


def end_canary(registry: ModelVersions, version: int, intent: ChangeIntent) -> ChannelChange | None:
    """Take the weight from the canary if it is `version`, which was promoted to stable; None: there is nothing to end.

    Raises:
        IntegrityError: the channel or its history is invalid.
        ConflictError: another change came in between; nothing was changed.
    """
    channel = Channel(registry, CANARY)
    now = channel.read()
    if now is None or now.version != version or now.weight is None:
        return None
    return channel.promote(version, intent, override_reason=now.override_reason, weight=Weight(None))
