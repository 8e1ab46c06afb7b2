"""Which channels a model has: those that the settings name, and those that exist in its store.

A channel begins with the first promotion to it. A name that is misspelt must not begin one, so `find_channel` accepts only
a name that ORCHARD_CHANNELS has, or to which something was promoted before. What protects or shows versions looks at
both, whatever the settings of its program are.
"""

from __future__ import annotations

from orchard import layout
from orchard.channel_names import nearest_channel, require_channel_name
from orchard.errors import DataError
from orchard.registry.channels import Channel
from orchard.registry.versions import ModelVersions

__all__ = ["find_channel", "known_channels"]


def known_channels(registry: ModelVersions) -> tuple[str, ...]:
    """Return the names of all channels: those of the settings in their order, then others that exist in the store.

    A channel exists that has a pointer or a history: one whose pointer is lost is not forgotten.

    Args:
        registry: the model.

    Raises:
        StoreError: the store failed.
    """
    store, model = registry.store, registry.model
    pointers = {layout.name_of_channel_key(stat.key) for stat in store.list(layout.channels(model))}
    entries = {layout.parts_of_history_key(stat.key) for stat in store.list(layout.history(model))}
    found = {name for name in pointers if name} | {parts[1] for parts in entries if parts}
    return (*registry.channels, *sorted(found.difference(registry.channels)))


def find_channel(registry: ModelVersions, name: str) -> Channel:
    """Return a channel that the settings name or that exists in the store.

    Args:
        registry: the model.
        name: the channel's name.

    Raises:
        DataError: the name is not valid, or no channel has it.
        StoreError: the store failed.
    """
    if name in registry.channels:
        return Channel(registry, name)
    known = known_channels(registry)
    if require_channel_name(name) not in known:
        raise DataError(
            f"{name!r} is not a channel of {registry.model!r}; expected one of {', '.join(known)}{nearest_channel(name, known)}",
            hint=f"a new channel is added by the setting: ORCHARD_CHANNELS={','.join((*registry.channels, name))}",
        )
    return Channel(registry, name)
