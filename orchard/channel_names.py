"""Names of channels: which are valid, and those that a deployment has unless the setting ORCHARD_CHANNELS says otherwise.

A name is a label of the model server, a value of a request header, a part of keys in the store, and a word where a verb
takes a version. So it never looks like a version's number, and it is none of the words in `RESERVED`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

from orchard.errors import DataError

__all__ = [
    "CANARY",
    "DEFAULT_CHANNELS",
    "RESERVED",
    "SHADOW",
    "STABLE",
    "WEIGHTED",
    "channel_name_problem",
    "nearest_channel",
    "parse_channels",
    "require_channel_name",
]

STABLE, CANARY, SHADOW = "stable", "canary", "shadow"
DEFAULT_CHANNELS: tuple[str, ...] = (STABLE, CANARY, SHADOW)
WEIGHTED = (CANARY, SHADOW)
"""The channels that may have a weight: a share of the traffic, which the router gives them."""

RESERVED = {
    "all": "it would look like every channel",
    "channels": "the status page of sync has problems under this name",
    "latest": "it stands for the newest version",
    "none": "it would look like no channel",
    "store": "the status page of sync has problems under this name",
    "sync": "the status page of sync has problems under this name",
}
"""Valid names that no channel may have, and why."""

_MAX = 32
_NAME = re.compile(rf"[a-z](?:[a-z0-9-]{{0,{_MAX - 2}}}[a-z0-9])?")


def channel_name_problem(name: str) -> str:
    """Return why a name is not valid for a channel; empty: it is."""
    if not _NAME.fullmatch(name):
        return (
            f"{name!r} is not a valid name of a channel: expected 1 to {_MAX} lower-case letters, digits and hyphens, "
            "a letter first and no hyphen last"
        )
    return f"{name!r} is not a valid name of a channel: {RESERVED[name]}" if name in RESERVED else ""


def require_channel_name(name: str) -> str:
    """Return `name` if a channel may have it. Raises `DataError` otherwise."""
    if problem := channel_name_problem(name):
        raise DataError(problem)
    return name


def nearest_channel(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence on an unknown channel: the nearest known one, if there is one."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def parse_channels(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the channels of a deployment, in their order.

    Args:
        names: their names, or a text of them with commas between.

    Raises:
        ValueError: a name is not valid or is there twice, or `stable` is missing.
    """
    parts = names.split(",") if isinstance(names, str) else names
    found = tuple(name.strip() for name in parts)
    for name in found:
        if problem := channel_name_problem(name):
            raise ValueError(problem)
        if found.count(name) > 1:
            raise ValueError(f"it names {name} twice")
    if STABLE not in found:
        raise ValueError(f"{STABLE} is missing: the router and the readiness of a model server depend on it")
    return found
