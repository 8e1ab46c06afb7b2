"""The argument that names a version, for the verbs of the registry: a number, `latest`, or a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchard.channel_names import channel_name_problem
from orchard.errors import DataError

if TYPE_CHECKING:
    from orchard.registry.registry import Registry
    from orchard.registry.versions import ModelVersions

__all__ = ["VERSION", "find_version", "open_to_read"]


class _VersionName(click.ParamType[int | str]):
    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Accept a version's number, `latest`, or a channel's name."""
        if value == "latest" or not channel_name_problem(str(value)):
            return str(value)
        try:
            return click.IntRange(1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither a version's number nor latest nor the name of a channel", param, ctx)


VERSION = _VersionName()


def open_to_read() -> Registry:
    """Open the registry that the settings name, without a signing key."""
    from orchard import settings
    from orchard.registry.registry import Registry

    return Registry.open(settings.load())


def find_version(registry: ModelVersions, version: int | str) -> int:
    """Return the number that a version's name stands for now.

    Args:
        registry: the model.
        version: a number, which is not checked; ``latest``; or a channel.

    Raises:
        DataError: the model has no version, there is no such channel, or nothing was promoted to it.
        IntegrityError: the channel's pointer is not trusted.
    """
    if isinstance(version, int):
        return version
    if version != "latest":
        from orchard.registry.known_channels import find_channel

        try:
            channel = find_channel(registry, version)
        except DataError as error:
            text = f"{version!r} is neither a version's number nor latest nor a channel: {error.message}"
            raise DataError(text, hint=error.hint) from error
        pointer = channel.read()
        if pointer is None:
            raise DataError(
                f"the channel {version!r} of {registry.model!r} points to no version",
                hint="`orchard promote VERSION --channel …` promotes one; `orchard versions` lists them",
            )
        return pointer.version
    known = registry.versions()
    if not known:
        raise DataError(
            f"{registry.model!r} has no version in {registry.store.name}", hint="`orchard publish` makes one"
        )
    return known[-1]
